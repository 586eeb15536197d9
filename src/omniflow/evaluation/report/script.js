"use strict";
(() => {
  const PAGE = 25;
  const TITLES = { all: "all", worst: "worst", best: "best", different: "most different",
    other: "others" };

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // Words of a text that are not in the longest sequence that it shares with another.
  function strangeWords(text, other) {
    const parts = text.split(/(\s+)/), words = parts.filter((_, i) => i % 2 === 0);
    const wanted = other.split(/\s+/);
    if (words.length * wanted.length > 40000) return null;
    const width = wanted.length + 1;
    const best = new Uint16Array((words.length + 1) * width);
    for (let i = words.length - 1; i >= 0; i--) {
      for (let j = wanted.length - 1; j >= 0; j--) {
        best[i * width + j] = words[i] === wanted[j]
          ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
      }
    }
    const strange = new Set();
    let i = 0, j = 0;
    while (i < words.length) {
      if (j < wanted.length && words[i] === wanted[j]) { i++; j++; }
      else if (j < wanted.length && best[i * width + j + 1] >= best[(i + 1) * width + j]) j++;
      else strange.add(i++);
    }
    return parts.map((part, k) => [part, k % 2 === 0 && part !== "" && strange.has(k / 2)]);
  }

  function nearest(text, references) {
    let found = null, fewest = Infinity;
    for (const reference of references) {
      const parts = strangeWords(text, reference);
      if (parts === null) return null;
      const count = parts.filter(([, strange]) => strange).length;
      if (count < fewest) { fewest = count; found = parts; }
    }
    return found;
  }

  function paragraph(text, references) {
    const made = element("p");
    const parts = references.length ? nearest(text, references) : null;
    if (parts === null) { made.textContent = text; return made; }
    for (const [part, strange] of parts) {
      made.append(strange ? element("mark", part) : document.createTextNode(part));
    }
    return made;
  }

  function cell(title, series, made, references) {
    const box = element("div", undefined, "cell");
    const name = element("b");
    if (series !== null) name.append(element("span", undefined, "key s" + (series % 8)));
    name.append(document.createTextNode(title));
    box.append(name);
    if (made === null) { box.append(element("p", "not in this run", "soft")); return box; }
    if (made.image) {
      const image = element("img");
      image.alt = "picture of " + title;
      image.src = made.image;
      box.append(image);
    }
    if (made.audio) {
      const audio = element("audio");
      audio.controls = true;
      audio.preload = "none";
      audio.src = made.audio;
      box.append(audio);
    }
    if (made.broken) box.append(element("p", made.broken, "bad"));
    if (made.text || !(made.image || made.audio || made.broken)) {
      box.append(made.text ? paragraph(made.text, references) : element("p", "(empty)", "soft"));
    }
    return box;
  }

  function card(row, data) {
    const box = element("article", undefined, "row");
    const head = element("header");
    head.append(element("span", "record " + row.id));
    head.append(element("span", row.kinds.map((kind) => TITLES[kind] || kind).join(", ")));
    box.append(head);
    const cells = element("div", undefined, "cells");
    if (row.refs.length) {
      const wanted = cell("reference", null, { text: row.refs[0] }, []);
      for (const more of row.refs.slice(1)) wanted.append(element("p", more, "soft"));
      cells.append(wanted);
    }
    row.made.forEach((made, i) => {
      const score = row.scores[i];
      const told = score === null || score === undefined ? "" : ` · ${data.metric} ${score}`;
      cells.append(cell(data.names[i] + told, data.series[i], made, row.refs));
    });
    box.append(cells);
    return box;
  }

  function predictions() {
    const source = document.getElementById("rows");
    if (!source) return;
    const data = JSON.parse(source.textContent);
    const list = document.getElementById("list"), count = document.getElementById("count");
    const search = document.getElementById("search"), more = document.getElementById("more");
    const tools = document.getElementById("kinds");
    const texts = data.rows.map((row) => [row.id, ...row.refs,
      ...row.made.map((made) => (made ? made.text : ""))].join("\n").toLowerCase());
    let kind = "all", shown = PAGE;
    const order = { worst: 1, best: -1 };
    const mean = (row) => {
      const known = row.scores.filter((score) => score !== null);
      return known.length ? known.reduce((a, b) => a + b, 0) / known.length : 0;
    };
    const spread = (row) => {
      const known = row.scores.filter((score) => score !== null);
      return known.length ? Math.max(...known) - Math.min(...known) : 0;
    };

    function chosen() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = data.rows.filter((row, i) => (kind === "all" || row.kinds.includes(kind))
        && words.every((word) => texts[i].includes(word)));
      const sign = data.higher ? 1 : -1;
      if (order[kind]) rows.sort((a, b) => sign * order[kind] * (mean(a) - mean(b)));
      if (kind === "different") rows.sort((a, b) => spread(b) - spread(a));
      return rows;
    }

    function draw() {
      const rows = chosen();
      list.replaceChildren(...rows.slice(0, shown).map((row) => card(row, data)));
      const part = Math.min(shown, rows.length);
      count.textContent = rows.length ? `${part} of ${rows.length} shown` : "nothing found";
      more.hidden = rows.length <= shown;
    }

    for (const name of Object.keys(TITLES)) {
      if (name !== "all" && !data.rows.some((row) => row.kinds.includes(name))) continue;
      const button = element("button", TITLES[name]);
      button.type = "button";
      button.dataset.kind = name;
      button.setAttribute("aria-pressed", String(name === kind));
      button.addEventListener("click", () => {
        kind = name;
        shown = PAGE;
        for (const other of tools.children) {
          other.setAttribute("aria-pressed", String(other.dataset.kind === kind));
        }
        draw();
      });
      tools.append(button);
    }
    search.addEventListener("input", () => { shown = PAGE; draw(); });
    more.addEventListener("click", () => { shown += PAGE; draw(); });
    draw();
  }

  function curves() {
    for (const chart of document.querySelectorAll(".curve")) {
      const lines = JSON.parse(chart.dataset.lines), svg = chart.querySelector("svg");
      const cross = chart.querySelector(".cross"), readout = chart.querySelector(".readout");
      const width = svg.viewBox.baseVal.width;
      const closest = (line, x) => line.p.reduce(
        (a, b) => (Math.abs(b[2] - x) < Math.abs(a[2] - x) ? b : a));
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * width;
        const found = lines.map((line) => [line.n, closest(line, x)]);
        const at = found.reduce((a, b) => (Math.abs(b[1][2] - x) < Math.abs(a[1][2] - x) ? b : a));
        cross.setAttribute("x1", at[1][2]);
        cross.setAttribute("x2", at[1][2]);
        cross.setAttribute("visibility", "visible");
        readout.textContent = `step ${at[1][0]}: `
          + found.map(([name, point]) => `${name} ${point[1]}`).join(" · ");
      });
      svg.addEventListener("pointerleave", () => {
        cross.setAttribute("visibility", "hidden");
        readout.textContent = "";
      });
    }
  }

  predictions();
  curves();
})();
