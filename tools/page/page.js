// Draws the figures of a page (charts.js says how), serves its buttons and lets it print. What is drawn is only what the
// page holds; `data-charts` of the document's element counts what has been drawn.
(() => {
  'use strict';

  const MOST_VECTORS = 4000;  // above so many marks a bitmap is faster than the SVG's elements
  const PRINT_WIDTH = 636;    // CSS pixels of an A4 page within its margins and a figure's frame
  const MOST_PRINT_HEIGHT = 800;

  const prefersDark = matchMedia('(prefers-color-scheme: dark)');

  function download(name, blob) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** A figure as a picture of its own, with its title, in the page's light look. */
  function pictureOf(chart, renderer) {
    const holder = document.createElement('div'), width = 960, title = 30;
    const height = Math.max(charts.heightOf(chart, width) + title, 480);
    const instance = echarts.init(holder, null, {renderer, width, height});
    const option = charts.option(chart, 'light', width);
    const lowered = part => part && {...part, top: part.top + title};
    instance.setOption({
      ...option, backgroundColor: '#ffffff', toolbox: {show: false}, grid: lowered(option.grid),
      legend: lowered(option.legend), visualMap: lowered(option.visualMap), graphic: option.graphic?.map(lowered),
      title: {text: chart.title, left: 4, top: 6, textStyle: {fontSize: 15, color: '#1a1c20'}},
    });
    const picture = renderer === 'svg' ? instance.renderToSVGString() : instance.getDataURL({type: 'png', pixelRatio: 2});
    instance.dispose();
    return picture;
  }

  /** The bytes of a figure's PNG. */
  function pngOf(chart) {
    return Uint8Array.from(atob(pictureOf(chart, 'canvas').split(',')[1]), c => c.charCodeAt(0));
  }

  function save(chart, kind) {
    const name = `${chart.file}.${kind}`;
    if (kind === 'csv') download(name, new Blob([chart.csv], {type: 'text/csv'}));
    if (kind === 'svg') download(name, new Blob([pictureOf(chart, 'svg')], {type: 'image/svg+xml'}));
    if (kind === 'png') download(name, new Blob([pngOf(chart)], {type: 'image/png'}));
  }

  function drawFigure(figure) {
    const chart = JSON.parse(figure.querySelector('script').textContent);
    const plot = figure.querySelector('.plot');
    const stretch = height => { plot.style.height = `${height}px`; };
    stretch(charts.heightOf(chart, plot.clientWidth));
    const instance = echarts.init(plot, null, {renderer: charts.markCount(chart) > MOST_VECTORS ? 'canvas' : 'svg'});
    const draw = (name, more = {}) =>
      instance.setOption({...charts.option(chart, name, instance.getWidth()), ...more}, true);
    draw(prefersDark.matches ? 'dark' : 'light');
    for (const button of figure.querySelectorAll('button[data-save]')) {
      button.addEventListener('click', () => save(chart, button.dataset.save));
    }
    return {chart, instance, draw, stretch, plot};
  }

  /** Column heads that sort: numbers by value, texts by letters; a second press turns the order. */
  function makeSortable(table) {
    const body = table.tBodies[0];
    const key = (row, column) => {
      const text = row.cells[column].firstChild?.textContent ?? '';
      const number = parseFloat(text.replaceAll(',', ''));
      return Number.isNaN(number) ? text : number;
    };
    const compare = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === 'number' ? -1 : 1;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener('click', () => {
        const order = head.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
        for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
        head.setAttribute('aria-sort', order);
        const sign = order === 'ascending' ? 1 : -1;
        body.append(...[...body.rows].sort((a, b) => sign * compare(key(a, column), key(b, column))));
      });
    });
  }

  document.querySelectorAll('table').forEach(makeSortable);
  const figures = [];
  for (const figure of document.querySelectorAll('figure.chart')) {
    try {
      figures.push(drawFigure(figure));
    } catch (error) {
      figure.querySelector('.plot').textContent = `This figure could not be drawn: ${error.message}`;
      console.error(error);
    }
  }
  document.documentElement.dataset.charts = String(figures.length);

  // pictures.cpp opens the page with this fragment and reads the element: each figure's PNG in hexadecimal digits.
  if (location.hash === '#pictures') {
    const element = document.createElement('script');
    element.type = 'application/json';
    element.id = 'pictures';
    const digits = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
    element.textContent = JSON.stringify(figures.map(figure => digits(pngOf(figure.chart))));
    document.body.append(element);
  }

  let printing = false;
  const redraw = () => {
    for (const figure of figures) {
      if (printing) figure.draw('light', {toolbox: {show: false}});
      else figure.draw(prefersDark.matches ? 'dark' : 'light');
    }
  };
  /** Each figure as wide as its place, and as high as it needs there. */
  const fit = () => {
    for (const figure of figures) {
      figure.stretch(charts.heightOf(figure.chart, figure.plot.clientWidth));
      figure.instance.resize({width: 'auto', height: 'auto'});
    }
    redraw();
  };
  prefersDark.addEventListener('change', redraw);
  addEventListener('resize', () => { if (!printing) fit(); });
  addEventListener('beforeprint', () => {
    document.querySelectorAll('details.listing').forEach(details => { details.open = true; });
    for (const figure of figures) {
      const height = Math.min(Math.max(charts.heightOf(figure.chart, PRINT_WIDTH) - 84, 300), MOST_PRINT_HEIGHT);
      figure.stretch(height);
      figure.instance.resize({width: PRINT_WIDTH, height});
    }
    printing = true;
    redraw();
  });
  addEventListener('afterprint', () => {
    printing = false;
    fit();
  });
})();
