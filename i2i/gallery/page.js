"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const make = (tag, facts = {}) => Object.assign(document.createElement(tag), facts);

  // --- light and dark ---------------------------------------------------------------------------------------------
  const theme = one("#theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const remember = (name) => { try { localStorage.setItem("i2i-theme", name); } catch { /* some browsers keep nothing for files */ } };
  const remembered = () => { try { return localStorage.getItem("i2i-theme"); } catch { return null; } };
  function paint(name) {
    if (name === "dark" || name === "light") root.dataset.theme = name;
    theme.setAttribute("aria-pressed", dark());
  }
  function turnTheme() {
    paint(dark() ? "light" : "dark");
    remember(root.dataset.theme);
  }
  paint(remembered());
  theme.addEventListener("click", turnTheme);

  // --- rows and their pictures ------------------------------------------------------------------------------------
  const list = one(".gallery");
  const rows = all(".row");
  const shownRows = () => rows.filter((row) => !row.hidden);
  const pictures = (row) => all("img[data-column]", row).sort((a, b) => a.dataset.column - b.dataset.column);
  const columns = JSON.parse(list ? list.dataset.columns : "[]");

  // More than two columns: every picture becomes a slider over the first, all of a row moving together.
  for (const row of list && list.classList.contains("rows") ? rows : []) {
    const first = one('img[data-column="0"]', row);
    if (!first) continue;
    for (const image of all('img[data-column]:not([data-column="0"])', row)) {
      const frame = image.parentElement;
      const over = make("img", { alt: "", draggable: false, src: first.src, className: first.className, decoding: "async" });
      const facts = { role: "slider", "aria-valuemin": 0, "aria-valuemax": 100, "aria-orientation": "horizontal" };
      for (const [name, value] of Object.entries(facts)) frame.setAttribute(name, value);
      frame.classList.add("slider");
      image.after(over, make("i", { className: "line" }));
      move(frame, 0);
    }
  }

  // --- dividers ---------------------------------------------------------------------------------------------------
  function move(frame, percent) {
    const at = clamp(percent, 0, 100);
    frame.style.setProperty("--at", `${at}%`);
    frame.setAttribute("aria-valuenow", Math.round(at));
    frame.setAttribute("aria-valuetext", `${Math.round(at)} % ${columns[0] || "of the first"}`);
  }
  const moveRow = (frame, percent) => all(".slider", frame.closest(".row")).forEach((each) => move(each, percent));
  const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
  all(".slider").forEach((frame) => move(frame, Number(frame.getAttribute("aria-valuenow"))));

  let drag = null;
  let dragged = false; // the click that ends a drag opens nothing
  document.addEventListener("dragstart", (event) => event.target.matches("img") && event.preventDefault());
  document.addEventListener("pointerdown", (event) => {
    dragged = false;
    const frame = event.target.closest(".row .frame");
    if (frame && event.button === 0) drag = { frame, from: event.clientX };
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag || !drag.frame.classList.contains("slider")) return;
    if (!dragged && Math.abs(event.clientX - drag.from) < 4) return;
    if (!dragged) drag.frame.setPointerCapture(event.pointerId);
    dragged = true;
    const box = drag.frame.getBoundingClientRect();
    moveRow(drag.frame, (100 * (event.clientX - box.left)) / box.width);
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { drag = null; });
  document.addEventListener("click", (event) => {
    const frame = event.target.closest(".row .frame");
    if (frame && !dragged && one("img", frame)) zoom.open(frame);
  });

  // --- the large view ---------------------------------------------------------------------------------------------
  const zoom = (() => {
    const dialog = one("#zoom");
    const stage = one(".stage", dialog);
    const [under, over, line] = [one(".under", stage), one(".over", stage), one(".line", stage)];
    const [leftPick, rightPick] = [one("#zoom-left select"), one("#zoom-right select")];
    const [leftTag, rightTag] = [one(".tag.left", stage), one(".tag.right", stage)];
    const act = (name) => one(`[data-do="${name}"]`, dialog);
    // left, right: columns; width, height: of the larger picture, in its pixels; x, y: of its middle, from the stage's;
    // split: of the divider, from 0 to 1 of the stage's width, so that it stays in sight when the picture moves
    const view = { row: null, left: 0, right: 1, width: 1, height: 1, scale: 1, x: 0, y: 0, split: 0.5, crisp: false, fitted: true };

    const fit = () => Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height, 4);
    function draw() {
      const { clientWidth: wide, clientHeight: high } = stage;
      if (view.fitted) Object.assign(view, { scale: fit(), x: 0, y: 0 });
      const [width, height] = [view.width * view.scale, view.height * view.scale];
      view.x = clamp(view.x, -Math.max(0, (width - wide) / 2 + 40), Math.max(0, (width - wide) / 2 + 40));
      view.y = clamp(view.y, -Math.max(0, (height - high) / 2 + 40), Math.max(0, (height - high) / 2 + 40));
      if (view.fitted) view.x = view.y = 0;
      const [left, top] = [wide / 2 + view.x - width / 2, high / 2 + view.y - height / 2];
      for (const image of [under, over]) {
        Object.assign(image.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
        image.classList.toggle("crisp", view.crisp);
      }
      const at = view.split * wide;
      over.style.clipPath = `inset(0 ${clamp(left + width - at, 0, width)}px 0 0)`;
      if (!over.hidden) under.style.clipPath = `inset(0 0 0 ${clamp(at - left, 0, width)}px)`; // else alpha would show it
      else under.style.clipPath = "none";
      line.style.left = `${at}px`;
      line.setAttribute("aria-valuenow", Math.round(100 * view.split));
      one("#zoom-level").textContent = `${Math.round(100 * view.scale)} %`;
      act("crisp").setAttribute("aria-pressed", view.crisp);
    }

    function scaleTo(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
      const next = clamp(scale, Math.min(fit(), 1) / 2, Math.max(16, fit()));
      const [dx, dy] = [x - stage.clientWidth / 2, y - stage.clientHeight / 2];
      const grown = next / view.scale;
      Object.assign(view, { scale: next, x: dx - (dx - view.x) * grown, y: dy - (dy - view.y) * grown, fitted: false });
      draw();
    }

    // The thumbnail at once, then the picture's own file if it can be reached.
    function show(image, thumb) {
      image.hidden = !thumb;
      image.want = "";
      if (!thumb) return;
      image.src = thumb.src;
      image.classList.toggle("clear", Boolean(thumb.closest(".clear")));
      const original = thumb.dataset.original;
      if (!original || !/\.(png|jpe?g|jfif|webp|gif|avif|bmp)$/i.test(original)) return;
      image.want = original;
      const whole = new Image();
      whole.onload = () => { if (image.want === original) image.src = whole.src; };
      whole.src = original;
    }

    function fill() {
      const found = pictures(view.row);
      const at = (column) => found.find((image) => Number(image.dataset.column) === column);
      const there = found.map((image) => Number(image.dataset.column));
      if (!at(view.right)) view.right = there.find((column) => column !== view.left) ?? there[0];
      if (!at(view.left)) view.left = there[0];
      const [left, right] = [at(view.left), at(view.right)];
      const pair = left && right && left !== right;
      show(under, right || left);
      show(over, pair ? left : null);
      line.hidden = leftTag.hidden = rightTag.hidden = !pair;
      leftTag.textContent = columns[view.left] || "";
      rightTag.textContent = columns[view.right] || "";
      const sizes = [left, right].filter(Boolean).map((image) => image.dataset.full.split(" ").map(Number));
      [view.width, view.height] = sizes.sort((a, b) => b[0] - a[0])[0];
      for (const [select, chosen] of [[leftPick, view.left], [rightPick, view.right]]) {
        select.replaceChildren(...there.map((column) => make("option", { value: column, textContent: columns[column] || column, selected: column === chosen })));
        select.parentElement.hidden = there.length < 3;
      }
      const visible = shownRows();
      const place = visible.indexOf(view.row);
      one("#zoom-name").textContent = one("#zoom-name").title = view.row.dataset.name;
      one("#zoom-place").textContent = `${place + 1} / ${visible.length}`;
      act("back").disabled = place <= 0;
      act("on").disabled = place >= visible.length - 1;
      const file = (right || left).dataset.original;
      one("#zoom-file").hidden = !file;
      if (file) one("#zoom-file").href = file;
      draw();
    }

    function go(steps) {
      const visible = shownRows();
      for (let place = visible.indexOf(view.row) + steps; visible[place]; place += steps) {
        if (!pictures(visible[place]).length) continue;
        view.row = visible[place];
        view.fitted = true;
        view.row.dispatchEvent(new CustomEvent("chosen", { bubbles: true }));
        fill();
        return;
      }
    }

    const acts = {
      in: () => scaleTo(view.scale * 1.5),
      out: () => scaleTo(view.scale / 1.5),
      fit: () => { view.fitted = true; draw(); },
      same: () => scaleTo(1),
      crisp: () => { crisp(); },
      back: () => go(-1),
      on: () => go(1),
      close: () => dialog.close(),
      swap: () => { view.split = view.split > 0.5 ? 0 : 1; draw(); },
    };
    const slide = (step) => { view.split = clamp(view.split + step, 0, 1); draw(); };
    const keys = { "+": "in", "=": "in", "-": "out", _: "out", 0: "fit", 1: "same", ArrowLeft: "back", ArrowRight: "on", p: "crisp", " ": "swap" };
    dialog.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
      if (event.key === " " && event.target.matches("button")) return;
      const sideways = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
      if (sideways && (event.shiftKey || event.target === line)) slide(sideways);
      else if (event.target === line && event.key === "Home") slide(-1);
      else if (event.target === line && event.key === "End") slide(1);
      else if (keys[event.key]) acts[keys[event.key]]();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      if (button) acts[button.dataset.do]();
    });
    leftPick.addEventListener("change", () => { view.left = Number(leftPick.value); fill(); });
    rightPick.addEventListener("change", () => { view.right = Number(rightPick.value); fill(); });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      scaleTo(view.scale * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });

    const touching = new Map(); // pointer -> where it was last
    let sliding = false;
    stage.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) return;
      touching.set(event.pointerId, event);
      sliding = event.target === line;
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      const last = touching.get(event.pointerId);
      if (!last) return;
      const box = stage.getBoundingClientRect();
      if (sliding) {
        view.split = clamp((event.clientX - box.left) / box.width, 0, 1);
        draw();
      } else if (touching.size === 2) { // two fingers: their distance scales, around what lies between them
        const other = [...touching.entries()].find(([pointer]) => pointer !== event.pointerId)[1];
        const far = (from) => Math.hypot(from.clientX - other.clientX, from.clientY - other.clientY);
        scaleTo((view.scale * far(event)) / Math.max(1, far(last)), (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
      } else if (!view.fitted) {
        view.x += event.clientX - last.clientX;
        view.y += event.clientY - last.clientY;
        draw();
      }
      touching.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => { touching.delete(event.pointerId); sliding = false; stage.focus(); });
    stage.addEventListener("dblclick", (event) => {
      const box = stage.getBoundingClientRect();
      if (event.target.closest("button, .line")) return;
      if (view.fitted) scaleTo(Math.max(1, 2 * view.scale), event.clientX - box.left, event.clientY - box.top);
      else acts.fit();
    });
    addEventListener("resize", () => dialog.open && draw());
    dialog.addEventListener("close", () => {
      for (const image of [under, over]) { image.want = ""; image.removeAttribute("src"); }
      const frame = one(".frame[tabindex]", view.row);
      if (frame && !frame.closest(".time")) {
        frame.scrollIntoView({ block: "nearest" });
        frame.focus({ preventScroll: true });
      }
    });

    function crisp() {
      view.crisp = !view.crisp;
      root.toggleAttribute("data-crisp", view.crisp);
      if (dialog.open) draw();
    }
    function open(frame) {
      const column = Number(one("img[data-column]", frame).dataset.column);
      const several = all(".frame", frame.closest(".row")).length > 1;
      Object.assign(view, { row: frame.closest(".row"), left: 0, right: several && column ? column : 1, split: 0.5, fitted: true });
      dialog.showModal();
      fill();
      stage.focus();
    }
    return { open, crisp, dialog };
  })();

  // --- keyboard on the page ---------------------------------------------------------------------------------------
  const help = one("#help");
  one("#keys").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && event.target.id === "find") { event.target.value = ""; search(); event.target.blur(); }
    if (typing) return;
    if (event.key === "?") { if (!help.open) help.showModal(); return; }
    if (event.key === "d") { turnTheme(); return; }
    if (zoom.dialog.open || help.open) return;
    const frame = event.target.closest(".row .frame");
    if (frame && (event.key === "Enter" || (event.key === " " && !frame.classList.contains("slider")))) zoom.open(frame);
    else if (frame && frame.classList.contains("slider") && event.key in STEPS) {
      moveRow(frame, Number(frame.getAttribute("aria-valuenow")) + STEPS[event.key]);
    } else if (event.key === "/" && find) find.focus();
    else if (event.key === "p") zoom.crisp();
    else return;
    event.preventDefault();
  });

  // --- find and sort ----------------------------------------------------------------------------------------------
  const find = one("#find");
  const index = JSON.parse(one("#index").textContent); // [[number, address, [name, ...]], ...] of the other pages
  function search() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (name) => words.every((word) => name.toLowerCase().includes(word));
    for (const row of rows) row.hidden = !fits(row.dataset.name);
    const left = shownRows().length;
    const here = index.length ? " on this page" : "";
    one("#count").textContent = (words.length ? `${left} of ${rows.length}` : `${rows.length} ${rows.length === 1 ? "picture" : "pictures"}`) + here;
    const others = words.length ? index.map(([number, address, names]) => [number, address, names.filter(fits).length]).filter((entry) => entry[2]) : [];
    const hash = `#find=${encodeURIComponent(find.value)}`;
    one("#elsewhere").replaceChildren(...(others.length ? ["also on page"] : []),
      ...others.slice(0, 12).map(([number, address, count]) => make("a", { href: address + hash, textContent: `${number} (${count})` })),
      ...(others.length > 12 ? [" …"] : []));
  }
  if (find) {
    find.addEventListener("input", search);
    const asked = () => { if (location.hash.startsWith("#find=")) { find.value = decodeURIComponent(location.hash.slice(6)); search(); } };
    addEventListener("hashchange", asked);
    search();
    asked();
    const measured = new Map(rows.map((row) => [row, JSON.parse(row.dataset.metrics || "[]")]));
    const kinds = new Map(); // "column metric" -> words
    for (const found of measured.values()) {
      found.forEach((values, column) => Object.keys(values).forEach((name) => {
        kinds.set(JSON.stringify([column, name]), columns.length > 2 ? `${name}, ${columns[column]}` : name);
      }));
    }
    const select = one("#sort");
    select.append(make("option", { value: "", textContent: list?.dataset.order || "In order of names" }));
    for (const [key, words] of kinds) {
      select.append(make("option", { value: `+${key}`, textContent: `${words}: lowest first` }), make("option", { value: `-${key}`, textContent: `${words}: highest first` }));
    }
    select.parentElement.hidden = !kinds.size;
    const listed = [...rows];
    select.addEventListener("change", () => {
      const order = [...listed];
      if (select.value) {
        const [sign, [column, name]] = [select.value[0] === "+" ? 1 : -1, JSON.parse(select.value.slice(1))];
        const value = (row) => measured.get(row)[column]?.[name];
        order.sort((a, b) => (value(a) === undefined) - (value(b) === undefined) || sign * (value(a) - value(b)) || 0);
      }
      list.append(...order);
      rows.splice(0, rows.length, ...order); // the large view goes through them as they stand
    });
  }

  // --- a training run ---------------------------------------------------------------------------------------------
  const hand = one("#hand");
  const charts = all(".chart").map((figure) => ({ figure, svg: one("svg", figure), points: JSON.parse(figure.dataset.points), box: figure.dataset.box.split(" ").map(Number) }));
  const put = (element, facts) => { for (const [name, value] of Object.entries(facts)) element.setAttribute(name, value); };
  const log = () => root.dataset.scale === "log";
  function mark(kind, images, { svg, box: [left, , width, , first, last] }) { // a vertical line
    const x = left + (width * (images - first)) / (last - first || 1);
    put(one(`.${kind}`, svg), { x1: x, x2: x, visibility: images >= first && images <= last ? "visible" : "hidden" });
  }
  function read(images) { // the values nearest to `images`, in every chart
    for (const chart of charts) {
      const { figure, svg, points } = chart;
      const output = one("output", figure);
      const dot = one(".dot", svg);
      if (images === null) { output.textContent = output.dataset.last; put(dot, { visibility: "hidden" }); continue; }
      const near = points.reduce((best, point) => (Math.abs(point[0] - images) < Math.abs(best[0] - images) ? point : best));
      const [at, value, smooth, x, y, yLog] = near;
      mark("cursor", at, chart);
      output.textContent = `${at.toLocaleString("en")}: ${value === null ? "not finite" : Number(value.toPrecision(4))}` + (smooth === null ? "" : ` (smooth ${Number(smooth.toPrecision(4))})`);
      const high = log() && yLog !== null ? yLog : y;
      put(dot, high === null ? { visibility: "hidden" } : { cx: x, cy: high, visibility: "visible" });
    }
    if (images === null) all(".chart .cursor").forEach((line) => put(line, { visibility: "hidden" }));
  }
  const under = (event, { svg, box: [left, , width, , first, last] }) => {
    const area = svg.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * svg.viewBox.baseVal.width;
    return clamp(first + ((x - left) / width) * (last - first), first, last);
  };
  function choose(place) {
    const row = rows[place];
    rows.forEach((each) => each.classList.toggle("now", each === row));
    hand.value = place;
    hand.setAttribute("aria-valuetext", row.dataset.name);
    one("#when").textContent = row.dataset.name;
    charts.forEach((chart) => mark("moment", Number(row.dataset.images), chart));
  }
  for (const chart of charts) {
    chart.svg.addEventListener("pointermove", (event) => read(under(event, chart)));
    chart.svg.addEventListener("pointerleave", () => read(null));
    chart.svg.addEventListener("click", (event) => {
      if (!hand) return;
      const images = under(event, chart);
      const far = (row) => Math.abs(Number(row.dataset.images) - images);
      rows.reduce((best, row) => (far(row) < far(best) ? row : best)).dispatchEvent(new CustomEvent("chosen", { bubbles: true }));
    });
  }
  if (hand) {
    let playing = null;
    const play = one("#play");
    const stop = () => { clearInterval(playing); playing = null; play.textContent = "▶"; play.setAttribute("aria-label", "Play"); };
    hand.addEventListener("input", () => { stop(); choose(Number(hand.value)); });
    document.addEventListener("chosen", (event) => { stop(); choose(rows.indexOf(event.target)); });
    play.addEventListener("click", () => {
      if (playing) { stop(); return; }
      if (Number(hand.value) === rows.length - 1) choose(0);
      play.textContent = "❚❚";
      play.setAttribute("aria-label", "Pause");
      playing = setInterval(() => {
        if (Number(hand.value) < rows.length - 1) choose(Number(hand.value) + 1);
        if (Number(hand.value) === rows.length - 1) stop();
      }, 400);
    });
    choose(rows.length - 1);
  }
  for (const button of all(".switch button")) {
    button.addEventListener("click", () => {
      root.dataset.scale = button.dataset.scale;
      all(".switch button").forEach((each) => each.setAttribute("aria-pressed", each === button));
    });
  }
})();
