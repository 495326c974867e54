// What Apache ECharts is told to draw for each kind of figure (chart_json() of figure_json.cpp says what they are).
// Invariant: an option depends on the figure, the look and the width alone, so screen, paper and pictures agree.
const charts = (() => {
  'use strict';

  // Okabe and Ito's colours, which colour-blind readers tell apart, darkened or lightened to stand out from the paper.
  const COLOURS = {
    light: ['#0072b2', '#d55e00', '#00805c', '#b8508f', '#a66f00', '#3a8fc2', '#6b5bb5', '#5a616b'],
    dark: ['#5db3f0', '#f5a35c', '#3fcf9f', '#f0a0cc', '#f0d64a', '#9fd8ff', '#b9a9f5', '#b8bfc9'],
  };
  const RISING = ['#440154', '#482878', '#3e4a89', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6dcd59', '#b4de2c',
    '#fde725'];  // viridis
  const DIVERGING = ['#2166ac', '#4393c3', '#92c5de', '#d1e5f0', '#f7f7f7', '#fddbc7', '#f4a582', '#d6604d', '#b2182b'];
  const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle', 'emptyDiamond'];
  const DASHES = ['solid', 'dashed', 'dotted', [8, 3, 2, 3]];

  function theme(name) {
    const isDark = name === 'dark';
    return {
      colours: COLOURS[name],
      ink: isDark ? '#e8eaee' : '#1a1c20',
      soft: isDark ? '#a6adb8' : '#5a616b',
      rule: isDark ? '#363b44' : '#d9dde3',
      paper: isDark ? '#15171b' : '#ffffff',
    };
  }

  const SUPERSCRIPTS = {'-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹'};
  const powerOfTen = exponent => '10' + String(exponent).replace(/./g, c => SUPERSCRIPTS[c] ?? c);

  /** At most `digits` significant digits: "0.1235", "64,000", "1.5·10⁻⁷". */
  function numberText(value, digits = 4) {
    if (value === null || value === undefined || Number.isNaN(value)) return '–';
    if (typeof value !== 'number') return String(value);
    if (value === 0) return '0';
    const size = Math.abs(value);
    if (size >= 1e-4 && size < 1e7) return value.toLocaleString('en', {maximumSignificantDigits: Math.max(digits,
      size >= 1 ? Math.floor(Math.log10(size)) + 1 : 0)});
    const exponent = Math.floor(Math.log10(size) + 1e-12);
    const mantissa = Number((value / 10 ** exponent).toPrecision(digits));
    return mantissa === 1 ? powerOfTen(exponent) : `${mantissa}·${powerOfTen(exponent)}`;
  }

  /** A logarithmic axis that does not begin or end at a power of ten has no number there. */
  const isPower = value => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
  const isSame = (a, b) => b !== undefined && Math.abs(a / b - 1) < 1e-4;  // ticks are rounded
  const tickText = (value, axis) => axis.logarithmic && (isSame(value, axis.low) || isSame(value, axis.high)) &&
    !isPower(value) ? '' : numberText(value, 6);
  const colour = (look, i) => look.colours[i % look.colours.length];
  const dash = (line, i, look) => line.dashed ? 'dashed' : DASHES[Math.floor(i / look.colours.length) % DASHES.length];
  const shown = (value, axis) => value === null || (axis.logarithmic && value <= 0) ? null : value;
  const escapeHtml = text => echarts.format.encodeHTML(String(text));

  const FONT = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const ruler = document.createElement('canvas').getContext('2d');
  /** CSS pixels of the widest of some texts, as charts write them. */
  function widthOf(texts) {
    ruler.font = `12px ${FONT}`;
    return Math.max(0, ...texts.map(text => ruler.measureText(text).width));
  }

  /** Points [x, y] of a line; what an axis has no place for is a gap. */
  const pointsOf = (line, x, y) => line.x.map((value, i) => {
    const px = shown(value, x), py = shown(line.y[i], y);
    return px === null || py === null ? [px ?? NaN, NaN] : [px, py];
  });

  /** 1, 2 or 5 times a power of ten, next to `value`: below it, or above it. */
  function roundLogarithm(value, choose) {
    if (!(value > 0) || !Number.isFinite(value)) return value;
    const steps = [-1, 0, 1].flatMap(more => [1, 2, 5].map(k => k * 10 ** (Math.floor(Math.log10(value)) + more)));
    return choose === 'below' ? Math.max(...steps.filter(step => step <= value * (1 + 1e-9)))
                              : Math.min(...steps.filter(step => step >= value * (1 - 1e-9)));
  }

  /** The smallest and the largest of any number of values. */
  const extent = values => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

  /** An axis of numbers, the first and the last of `values` at its ends when those are `tight`. */
  function valueAxis(axis, look, extra = {}, values = [], tight = false) {
    const finite = values.filter(value => value !== null), [low, high] = extent(finite);
    const whole = finite.length > 0 && finite.every(Number.isInteger);
    let ends = {min: axis.low, max: axis.high}, showMaxLabel;
    if (axis.logarithmic) {
      ends = {min: axis.low ?? (v => roundLogarithm(v.min, 'below')),
              max: axis.high ?? (v => roundLogarithm(v.max, 'above'))};
    } else if (tight && finite.length > 0) {
      ends = {min: axis.low ?? (whole && low === 1 && high > 1 ? 1 : undefined), max: axis.high ?? 'dataMax'};
      // The number at the end would stand close to that of the tick before it.
      const step = Math.max(echarts.number.nice((high - low) / 5, true), whole ? 1 : 0), over = high / step % 1;
      showMaxLabel = !(over > 1e-9 && over < 0.5);
    }
    return {
      type: axis.logarithmic ? 'log' : 'value',
      name: axis.name,
      scale: true,
      ...ends,
      minInterval: whole ? 1 : 0,
      nameTextStyle: {color: look.soft, fontSize: 12},
      axisLine: {show: true, onZero: false, lineStyle: {color: look.soft}},
      axisLabel: {color: look.soft, hideOverlap: true, showMaxLabel, formatter: value => tickText(value, axis)},
      splitLine: {lineStyle: {color: look.rule}},
      minorSplitLine: {show: axis.logarithmic, lineStyle: {color: look.rule, opacity: 0.4}},
      minorTick: {show: axis.logarithmic, splitNumber: 9},
      ...extra,
    };
  }

  function categoryAxis(name, categories, look, extra = {}) {
    return {
      type: 'category',
      data: categories,
      name,
      nameTextStyle: {color: look.soft, fontSize: 12},
      axisLine: {lineStyle: {color: look.soft}},
      axisTick: {alignWithLabel: true},
      axisLabel: {color: look.soft, hideOverlap: true},
      ...extra,
    };
  }

  const below = {nameLocation: 'middle', nameGap: 30};
  const above = {nameLocation: 'end', nameGap: 14};
  const alignedLeft = look => ({nameTextStyle: {color: look.soft, fontSize: 12, align: 'left', padding: [0, 0, 0, -28]}});

  const LEGEND_ROW = 24, LEGEND_SYMBOL = 26, LEGEND_GAP = 10, LEGEND_PADDING = 5, LEFT_FOR_BUTTONS = 100;

  /** How many rows a legend takes in a chart of that width. */
  function legendRows(names, width) {
    const room = width - LEFT_FOR_BUTTONS - 2 * LEGEND_PADDING;
    let rows = names.length > 0 ? 1 : 0, used = 0;
    for (const name of names) {
      const needed = LEGEND_SYMBOL + 5 + widthOf([name]) + LEGEND_GAP;
      if (used > 0 && used + needed - LEGEND_GAP > room) [rows, used] = [rows + 1, 0];
      used += needed;
    }
    return rows;
  }

  /** The names a chart's legend has to explain: not that of its only series when an axis has it already. */
  function legendNames(chart) {
    const series = chart.kind === 'heat' ? [] : chart.distributions ?? chart.bars ?? chart.points ?? chart.lines;
    const axis = chart.value ?? chart.y;
    return series.length === 1 && ['', axis?.name].includes(series[0].name) ? [] : series.map(one => one.name);
  }

  /** What every chart has, in that width; `marks`: of the vertical axis, whose names stand to the right. */
  function frame(chart, look, width, marks = []) {
    const names = legendNames(chart);
    return {
      animation: false,
      backgroundColor: 'transparent',
      color: look.colours,
      textStyle: {fontFamily: FONT},
      grid: {
        left: 12, right: Math.max(28, widthOf(marks.map(mark => mark.name)) + 12),
        top: 44 + LEGEND_ROW * legendRows(names, width), bottom: 34, containLabel: true,
      },
      legend: {
        show: names.length > 0, top: 4, left: 0, width: width - LEFT_FOR_BUTTONS, data: names, itemWidth: LEGEND_SYMBOL,
        itemGap: LEGEND_GAP, padding: LEGEND_PADDING, textStyle: {color: look.ink, fontSize: 12},
      },
      tooltip: {
        confine: true, backgroundColor: look.paper, borderColor: look.rule, textStyle: {color: look.ink, fontSize: 12},
        valueFormatter: value => numberText(Array.isArray(value) ? value[1] : value),
      },
    };
  }

  /** The marks of both axes as one series without points of its own but those that widen the axes to the marks. */
  function markSeries(x, y, anchor, look) {
    const lines = [
      ...x.marks.map(mark => ({name: mark.name, xAxis: mark.value, label: {position: 'end', rotate: 0}})),
      ...y.marks.map(mark => ({name: mark.name, yAxis: mark.value})),
    ];
    if (lines.length === 0) return [];
    return [{
      type: 'line', symbol: 'none', lineStyle: {opacity: 0}, silent: true, tooltip: {show: false},
      data: [...x.marks.map(mark => [mark.value, anchor[1]]), ...y.marks.map(mark => [anchor[0], mark.value])],
      markLine: {
        symbol: 'none', silent: true, data: lines, lineStyle: {color: look.soft, type: [4, 4]},
        label: {formatter: '{b}', color: look.soft, position: 'end'},
      },
    }];
  }

  /** The band of a line: the area between its low and its high, once for each run without a gap. */
  function bandSeries(line, i, {x, y, lines}, look) {
    if (line.low.length === 0) return [];
    const points = line.x.map((value, k) => [shown(value, x), shown(line.low[k], y), shown(line.high[k], y)]);
    const runs = [[]];
    for (const point of points) {
      if (point.includes(null)) runs.push([]);
      else runs[runs.length - 1].push(point);
    }
    const drawn = runs.filter(run => run.length > 1);
    return drawn.map(run => ({
      name: line.name, type: 'custom', silent: true, clip: true, z: 1, tooltip: {show: false}, data: run,
      itemStyle: {color: colour(look, i)}, encode: {x: 0, y: [1, 2]},
      renderItem: (params, api) => params.dataIndex > 0 ? null : {
        type: 'polygon',
        shape: {points: [...run.map(p => api.coord([p[0], p[1]])), ...[...run].reverse().map(p => api.coord([p[0], p[2]]))]},
        style: {fill: colour(look, i), opacity: lines.length > 4 ? 0.1 : 0.18},
      },
    }));
  }

  function lineSeries(line, i, x, y, look) {
    return {
      name: line.name, type: 'line', data: pointsOf(line, x, y), symbol: SYMBOLS[i % SYMBOLS.length],
      symbolSize: line.x.length === 1 ? 10 : 6,
      showSymbol: line.x.length <= 30, sampling: line.x.length > 3000 ? 'lttb' : undefined,
      lineStyle: {width: 2, type: dash(line, i, look), color: colour(look, i)}, itemStyle: {color: colour(look, i)},
      emphasis: {disabled: true},
    };
  }

  const firstPoint = lists => {
    for (const list of lists) {
      for (let k = 0; k < list.x.length; ++k) if (list.x[k] !== null && list.y[k] !== null) return [list.x[k], list.y[k]];
    }
    return [1, 1];
  };

  /** What all lines have at one place: its label, or what the axis says, then a row for each line. */
  function lineTooltip(items, {x, lines}) {
    const label = items.map(item => lines[item.seriesIndex]?.labels[item.dataIndex]).find(Boolean);
    const place = `${x.name} ${numberText(items[0].value[0])}`;
    return [`<b>${escapeHtml(label ?? place)}</b>`, ...items.map(item =>
      `${item.marker}${escapeHtml(item.seriesName)}: <b>${numberText(item.value[1])}</b>`)].join('<br>');
  }

  function drawLines(chart, look, width) {
    const {x, y, lines} = chart;
    const base = frame(chart, look, width, y.marks);
    return {
      ...base,
      tooltip: {...base.tooltip, trigger: 'axis', axisPointer: {label: {show: false}},
                formatter: items => lineTooltip(items, chart)},
      toolbox: zoomButtons(look),
      xAxis: valueAxis(x, look, below, lines.flatMap(line => line.x), true),
      yAxis: valueAxis(y, look, {...above, ...alignedLeft(look)}, lines.flatMap(line => line.y)),
      series: [  // lines first: the legend takes a name's symbol from the first series that has it
        ...lines.map((line, i) => lineSeries(line, i, x, y, look)),
        ...lines.flatMap((line, i) => bandSeries(line, i, chart, look)),
        ...markSeries(x, y, firstPoint(lines), look),
      ],
    };
  }

  /** Draw a rectangle to look closer; the page's own scrolling is left alone. */
  function zoomButtons(look) {
    return {
      right: 8, top: 2, itemSize: 13, iconStyle: {borderColor: look.soft}, emphasis: {iconStyle: {borderColor: look.ink}},
      feature: {dataZoom: {filterMode: 'none', title: {zoom: 'Zoom', back: 'Zoom back'}}, restore: {title: 'Whole'}},
    };
  }

  /** The name of a line along it: at the right end of a level one, at the left end of any other. */
  function lineLabel(line, look) {
    const last = line.x.length - 1;
    if (!line.name || last < 1) return undefined;
    const position = line.y[0] === line.y[last] ? 'insideEndTop' : 'insideStartTop';
    return {
      symbol: 'none', silent: true, lineStyle: {color: 'transparent'},
      label: {formatter: '{b}', position, color: look.soft, fontSize: 11},
      data: [[{name: line.name, coord: [line.x[0], line.y[0]]}, {coord: [line.x[last], line.y[last]]}]],
    };
  }

  function drawScatter(chart, look, width) {
    const {x, y, lines, points} = chart;
    const base = frame(chart, look, width, y.marks);
    const small = points.reduce((sum, group) => sum + group.x.length, 0) > 500;
    const format = (item, group) => `${group.labels[item.dataIndex] ? `<b>${escapeHtml(group.labels[item.dataIndex])}</b><br>`
      : ''}${escapeHtml(group.name)}<br>${escapeHtml(x.name)}: ${numberText(item.value[0])}<br>${escapeHtml(y.name)}: ${
      numberText(item.value[1])}`;
    return {
      ...base,
      tooltip: {...base.tooltip, trigger: 'item'},
      toolbox: zoomButtons(look),
      xAxis: valueAxis(x, look, below),
      yAxis: valueAxis(y, look, {...above, ...alignedLeft(look)}),
      series: [
        ...lines.map(line => ({
          type: 'line', data: pointsOf(line, x, y), symbol: 'none', silent: true, clip: true,
          lineStyle: {color: look.soft, width: 1.5, type: line.dashed ? 'dashed' : 'solid'}, tooltip: {show: false},
          markLine: lineLabel(line, look),
        })),
        ...points.map((group, i) => ({
          name: group.name, type: 'scatter', data: pointsOf(group, x, y), symbol: SYMBOLS[i % SYMBOLS.length],
          symbolSize: small ? 5 : 9, itemStyle: {color: colour(look, i), opacity: 0.85}, z: 5,
          tooltip: {formatter: item => format(item, group)},
        })),
        ...markSeries(x, y, firstPoint([...points, ...lines]), look),
      ],
    };
  }

  /** The whiskers of bars, laid out as ECharts lays out the bars themselves. */
  function whiskerSeries(bars, i, count, chart, look) {
    if (bars.low.length === 0 || chart.stacked) return [];
    const flat = chart.horizontal;
    return [{
      name: bars.name, type: 'custom', silent: true, tooltip: {show: false}, z: 4,
      data: bars.low.map((low, k) => [k, shown(low, chart.value), shown(bars.high[k], chart.value)])
        .filter(item => !item.includes(null)),
      encode: flat ? {y: 0, x: [1, 2]} : {x: 0, y: [1, 2]},
      renderItem: (params, api) => {
        const layout = api.barLayout({barGap: '10%', barCategoryGap: '25%', barMaxWidth: 48, count})[i];
        const at = value => flat ? api.coord([value, api.value(0)]) : api.coord([api.value(0), value]);
        const low = at(api.value(1)), high = at(api.value(2)), shift = layout.offsetCenter, half = Math.min(layout.width / 4, 5);
        const line = (x1, y1, x2, y2) => flat
          ? {type: 'line', shape: {x1: y1, y1: x1, x2: y2, y2: x2}, style: {stroke: look.ink, lineWidth: 1.2}}
          : {type: 'line', shape: {x1, y1, x2, y2}, style: {stroke: look.ink, lineWidth: 1.2}};
        const across = (flat ? low[1] : low[0]) + shift, from = flat ? low[0] : low[1], to = flat ? high[0] : high[1];
        return {type: 'group', children: [line(across, from, across, to), line(across - half, from, across + half, from),
                                          line(across - half, to, across + half, to)]};
      },
    }];
  }

  const TILT = 35;  // degrees

  /** How the categories of upright bars are written: level where they have the room, else tilted. */
  function uprightNames(categories, look, width) {
    const longest = widthOf(categories), each = (width - 80) / categories.length;
    if (longest + 8 <= each) return {left: 12, axis: {...below, axisLabel: {color: look.soft, interval: 0}}};
    const rise = Math.sin(TILT * Math.PI / 180) * longest, run = Math.cos(TILT * Math.PI / 180) * longest;
    return {left: Math.max(12, run - each / 2 - 24),
            axis: {...below, nameGap: rise + 24, axisLabel: {color: look.soft, hideOverlap: true, rotate: TILT}}};
  }

  function drawBars(chart, look, width) {
    const {value, bars, categories, horizontal} = chart;
    const base = frame(chart, look, width, horizontal ? [] : value.marks), upright = uprightNames(categories, look, width);
    const flatAxis = valueAxis(value, look, {scale: false, ...(horizontal ? below : {...above, ...alignedLeft(look)})},
                               bars.flatMap(group => group.values));
    const names = categoryAxis(chart.categoryName, categories, look, horizontal
      ? {inverse: true, nameLocation: 'start', nameGap: 10, nameTextStyle: {color: look.soft, align: 'right'},
         axisLabel: {color: look.soft, interval: 0, width: 240, overflow: 'truncate'}}
      : upright.axis);
    return {
      ...base,
      grid: horizontal ? base.grid : {...base.grid, left: upright.left},
      tooltip: {...base.tooltip, trigger: 'axis', axisPointer: {type: 'shadow'}},
      xAxis: horizontal ? flatAxis : names,
      yAxis: horizontal ? names : flatAxis,
      series: [
        ...bars.map((group, i) => ({
          name: group.name, type: 'bar', data: group.values.map(v => shown(v, value)), barGap: '10%', barCategoryGap: '25%',
          barMaxWidth: 48, stack: chart.stacked ? 'all' : undefined, itemStyle: {color: colour(look, i)},
          emphasis: {disabled: true},
        })),
        ...bars.flatMap((group, i) => whiskerSeries(group, i, bars.length, chart, look)),
        ...(horizontal ? markSeries(value, {marks: []}, [0, categories[0]], look)
                       : markSeries({marks: []}, value, [categories[0], 0], look)),
      ],
    };
  }

  function drawHeat(chart, look, width) {
    const {rows, columns, values} = chart;
    const scale = v => v === null || (chart.logarithmic && v <= 0) ? null : chart.logarithmic ? Math.log10(v) : v;
    const cells = values.map((v, k) => [k % columns.length, Math.floor(k / columns.length), scale(v) ?? '-']);
    const finite = cells.map(cell => cell[2]).filter(v => v !== '-');
    let [low, high] = extent(finite);
    if (finite.length === 0) [low, high] = [0, 1];
    if (chart.diverging) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const unscaled = v => chart.logarithmic ? numberText(10 ** v) : numberText(v);
    const base = frame(chart, look, width), scaleWidth = widthOf([unscaled(low), unscaled(high)]) + 40;
    return {
      ...base,
      grid: {...base.grid, top: 30, right: scaleWidth + 24},
      graphic: [{type: 'text', right: 8, top: 4, style: {text: chart.valueName, fill: look.soft, font: `12px ${FONT}`}}],
      tooltip: {
        ...base.tooltip,
        formatter: item => `${escapeHtml(chart.rowName)} ${escapeHtml(rows[item.value[1]])}<br>${
          escapeHtml(chart.columnName)} ${escapeHtml(columns[item.value[0]])}<br><b>${escapeHtml(chart.valueName)} ${
          numberText(values[item.dataIndex])}</b>`,
      },
      visualMap: {
        min: low, max: high, calculable: true, orient: 'vertical', left: width - scaleWidth - 4, top: 34, itemHeight: 180,
        precision: 6, align: 'left', inRange: {color: chart.diverging ? DIVERGING : RISING}, textStyle: {color: look.soft},
        formatter: unscaled,
      },
      xAxis: categoryAxis(chart.columnName, columns, look, {...below, splitArea: {show: false}}),
      yAxis: categoryAxis(chart.rowName, rows, look, {
        inverse: true, nameLocation: 'start', nameGap: 10, nameTextStyle: {color: look.soft, align: 'right'},
        axisLabel: {color: look.soft, width: 200, overflow: 'truncate', interval: rows.length > 60 ? 'auto' : 0},
      }),
      series: [{type: 'heatmap', data: cells, progressive: 0, emphasis: {itemStyle: {borderColor: look.ink, borderWidth: 1}}}],
    };
  }

  function drawHistogram(chart, look, width) {
    const {x, y, distributions} = chart;
    const base = frame(chart, look, width, y.marks);
    const floor = y.logarithmic
      ? Math.min(...distributions.flatMap(d => d.counts.filter(c => c > 0)), 1) / 2 : 0;
    return {
      ...base,
      tooltip: {...base.tooltip, trigger: 'item'},
      xAxis: valueAxis(x, look, below),
      yAxis: valueAxis({...y, low: y.logarithmic ? floor : y.low}, look, {...above, ...alignedLeft(look), scale: false},
                       distributions.flatMap(d => d.counts)),
      series: [...distributions.map((d, i) => ({
        name: d.name, type: 'custom', clip: true, itemStyle: {color: colour(look, i)},
        data: d.counts.map((count, k) => [shown(d.edges[k], x), shown(d.edges[k + 1], x), count])
          .filter(bin => !bin.includes(null) && bin[2] > 0),
        encode: {x: [0, 1], y: 2},
        tooltip: {formatter: item => `${escapeHtml(d.name)}<br>${numberText(item.value[0])} to ${
          numberText(item.value[1])}: <b>${numberText(item.value[2])}</b>`},
        renderItem: (params, api) => {
          const [left, top] = api.coord([api.value(0), api.value(2)]);
          const [right, bottom] = api.coord([api.value(1), floor]);
          const fill = colour(look, i);
          return {type: 'rect', shape: {x: left, y: top, width: Math.max(right - left, 1), height: bottom - top},
                  style: {fill, opacity: distributions.length > 1 ? 0.45 : 0.8, stroke: fill, lineWidth: 1}};
        },
      })), ...markSeries(x, y, [distributions[0]?.edges[0] ?? 1, floor], look)],
    };
  }

  const DRAW = {lines: drawLines, scatter: drawScatter, bars: drawBars, heat: drawHeat, histogram: drawHistogram};

  /** How many shapes a figure has, about. */
  function markCount(chart) {
    const lists = chart.lines ?? [];
    const symbols = lists.reduce((sum, line) => sum + (line.x.length <= 30 ? line.x.length : 1), 0);
    const points = (chart.points ?? []).reduce((sum, group) => sum + group.x.length, 0);
    return symbols + points + (chart.values?.length ?? 0) + (chart.categories?.length ?? 0) * (chart.bars?.length ?? 0);
  }

  /** The height a figure of that width needs so that each of its rows can be read. */
  function heightOf(chart, width) {
    const legend = LEGEND_ROW * Math.max(legendRows(legendNames(chart), width) - 1, 0);
    if (chart.kind === 'heat') return Math.min(Math.max(chart.rows.length * 14 + 110, 300), 960);
    if (chart.kind === 'bars' && chart.horizontal) {
      return legend + Math.min(Math.max(chart.categories.length * (chart.stacked ? 1 : chart.bars.length) * 11 +
        chart.categories.length * 8 + 110, 260), 2400);
    }
    return legend + 384;
  }

  return {
    /** ECharts' option for a figure in the look 'light' or 'dark', in that width. */
    option: (chart, look, width) => DRAW[chart.kind](chart, theme(look), width),
    heightOf,
    markCount,
  };
})();
