# PyTorch's golden results are recomputed and compared with the committed ones, those of large nets but for the later steps
# of training (in double, a minute and a half); without torch the tests are skipped.
find_program(RESIDUUM_TORCH_PYTHON python3 HINTS /usr/bin DOC "Python that may have torch and torchvision")
if(RESIDUUM_TORCH_PYTHON)
  foreach(net cifar_resnet20 resnet18 resnet50)
    set(check --check-start)
    if(net STREQUAL "cifar_resnet20")
      set(check --check)
    endif()
    add_test(NAME torch_golden.${net}
             COMMAND ${RESIDUUM_TORCH_PYTHON} -B ${CMAKE_CURRENT_SOURCE_DIR}/golden/make_golden.py ${check} ${net})
    set_tests_properties(torch_golden.${net} PROPERTIES SKIP_RETURN_CODE 77 LABELS torch_golden TIMEOUT 600 COST 100)
  endforeach()
endif()
