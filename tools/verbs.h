// The verbs of the program: each adds its command to the parser and says what to do when it was given.
#pragma once

#include "tools/command.h"

namespace residuum {

Verb train_verb(const Command& program);
Verb eval_verb(const Command& program);
Verb predict_verb(const Command& program);
Verb summary_verb(const Command& program);
Verb plan_verb(const Command& program);
Verb data_verb(const Command& program);
Verb report_verb(const Command& program);
Verb bench_verb(const Command& program);
Verb lab_verb(const Command& program);
Verb launch_verb(const Command& program);
Verb version_verb(const Command& program);

}  // namespace residuum
