// Added by browser.py to a copy of a page: asks what was drawn, presses every button when `pressButtons`, a constant
// written before this, says so, and leaves the answers as JSON in the element #probe, where --dump-dom shows them.
(() => {
  'use strict';
  // What a button saves is taken where it is made: reading a blob would outlast --dump-dom's virtual time.
  const saved = [], bytes = new Map();
  const PlainBlob = Blob;
  window.Blob = function (parts, options) {
    const blob = new PlainBlob(parts, options);
    bytes.set(blob, typeof parts[0] === 'string' ? new TextEncoder().encode(parts[0]) : parts[0]);
    return blob;
  };
  let latest = null;
  const makeUrl = URL.createObjectURL.bind(URL);
  URL.createObjectURL = blob => {
    latest = blob;
    return makeUrl(blob);
  };
  HTMLAnchorElement.prototype.click = function () {
    const content = bytes.get(latest);
    saved.push({name: this.download, size: content.length, start: String.fromCharCode(...content.slice(0, 60))});
  };

  const styleOf = (element, name) => getComputedStyle(element)[name];

  /** Colour and box of each shape of a figure's SVG, within the plot. */
  function shapesOf(svg) {
    return [...svg.querySelectorAll('path, rect, circle, polygon')].map(shape => {
      const box = shape.getBoundingClientRect();
      const ink = name => shape.getAttribute(name) ?? 'none';
      return {fill: ink('fill'), stroke: ink('stroke'), x: box.x, y: box.y, width: box.width, height: box.height};
    });
  }

  /** What a figure's SVG says, where and in which colour. */
  function textsOf(svg) {
    return [...svg.querySelectorAll('text')].map(text => {
      const box = text.getBoundingClientRect();
      const tilted = /rotate|matrix\((?!1[, ])/.test(text.getAttribute('transform') ?? '');
      return {text: text.textContent, fill: text.getAttribute('fill'), tilted, x: box.x, y: box.y, width: box.width,
              height: box.height};
    });
  }

  /** How many different colours the pixels of a figure's bitmap have. */
  function coloursOf(canvas) {
    const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return new Set(pixels).size;
  }

  /** Whether an element stands on the words of another. */
  function covers(element, words) {
    const range = document.createRange();
    range.selectNodeContents(words);
    const a = element.getBoundingClientRect();
    return [...range.getClientRects()].some(b => a.left < b.right && b.left < a.right && a.top < b.bottom &&
                                                 b.top < a.bottom);
  }

  function describe(figure) {
    const plot = figure.querySelector('.plot'), svg = plot.querySelector('svg'), canvas = plot.querySelector('canvas');
    const place = plot.getBoundingClientRect(), data = JSON.parse(figure.querySelector('script').textContent);
    return {
      title: figure.querySelector('h3').textContent,
      file: data.file,
      csv: data.csv,
      covered: covers(figure.querySelector('.buttons'), figure.querySelector('h3')),
      logarithmic: Boolean(data.y?.logarithmic),
      bare: data.kind === 'scatter' ? data.lines.map(line => line.name) : [],  // lines without symbols
      width: plot.clientWidth,
      place: {x: place.x, y: place.y, width: place.width, height: place.height},
      shapes: svg ? shapesOf(svg) : [],
      texts: svg ? textsOf(svg) : [],
      colours: canvas ? coloursOf(canvas) : 0,
    };
  }

  /** The first column of the first table, after one and after two presses on the second column's head. */
  function sortTwice() {
    const table = document.querySelector('table');
    if (!table || table.tHead.rows[0].cells.length < 2) return [];
    const first = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
    return [0, 1].map(() => {
      table.tHead.rows[0].cells[1].querySelector('button').click();
      return first();
    });
  }

  const figures = [...document.querySelectorAll('figure.chart')].map(describe);
  if (pressButtons) for (const button of document.querySelectorAll('button[data-save]')) button.click();
  const look = (selector, name) => {
    const element = document.querySelector(selector);
    return element ? styleOf(element, name) : null;
  };
  const answer = {
    charts: document.documentElement.dataset.charts,
    loaded: performance.getEntriesByType('resource').map(entry => entry.name),
    paper: look('body', 'backgroundColor'),
    inks: Object.fromEntries(['body', 'figcaption', 'a', 'td.good', 'td.bad', 'dt', 'summary']
      .map(selector => [selector, look(selector, 'color')])),
    tables: [...document.querySelectorAll('figure.table table')].map(table => ({
      title: table.closest('figure').querySelector('h3')?.textContent ?? '',
      width: table.offsetWidth,
      room: table.closest('.scroll').clientWidth,
    })),
    sorted: sortTwice(),
    figures,
    files: saved,
  };
  const element = document.createElement('script');
  element.type = 'application/json';
  element.id = 'probe';
  element.textContent = JSON.stringify(answer).replaceAll('<', '\\u003c');
  document.body.append(element);
})();
