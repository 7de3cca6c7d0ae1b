// Interactive 3D view of an ensemble on a 2D canvas: no library, no network, prints as it stands.
// Data (see viewer.py): {elements: [{symbol, colour, radius}], usual: [n], replicas: [{cell, kind, count, position, bonds, crossing}]}.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const canvas = document.getElementById("viewer");
  const context = canvas.getContext("2d");
  const find = (id) => document.getElementById(id);
  const LEVELS = 10; // steps of fading with depth
  const FEWER = "#0072b2", USUAL = "#b9bec6", MORE = "#d55e00"; // colour-blind-safe: Okabe and Ito
  let replica = 0, mode = data.elements.length > 1 ? "element" : "coordination", bonds = true, cut = 1, zoom = 1, pan = [0, 0];
  let turn = multiply(rotation(0, -0.35), rotation(1, 0.5));
  let scene = null, sprites = {}, pending = false, drawn = [];

  function multiply(a, b) {
    return a.map((row) => b[0].map((_, j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  }
  function rotation(axis, angle) {
    const c = Math.cos(angle), s = Math.sin(angle);
    return axis === 0 ? [[1, 0, 0], [0, c, -s], [0, s, c]]
      : axis === 1 ? [[c, 0, s], [0, 1, 0], [-s, 0, c]] : [[c, -s, 0], [s, c, 0], [0, 0, 1]];
  }
  function rgb(hex) {
    return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  }
  function mix(a, b, t) {
    return a.map((v, k) => Math.round(v + (b[k] - v) * t));
  }
  const css = (c) => `rgb(${c.join(",")})`;

  // Atoms, half bonds (one colour each) and cell edges of a replica, about the centre of its cell.
  function build() {
    const { cell, kind, count, position, bonds: inner, crossing } = data.replicas[replica];
    const centre = [0, 1, 2].map((k) => (cell[0][k] + cell[1][k] + cell[2][k]) / 2);
    const atoms = kind.map((e, i) => [0, 1, 2].map((k) => position[3 * i + k] - centre[k]));
    const half = [];
    const join = (i, j, shift) => {
      const move = [0, 1, 2].map((k) => shift[0] * cell[0][k] + shift[1] * cell[1][k] + shift[2] * cell[2][k]);
      const middle = [0, 1, 2].map((k) => (atoms[j][k] + move[k] - atoms[i][k]) / 2);
      half.push([i, atoms[i].map((v, k) => v + middle[k])], [j, atoms[j].map((v, k) => v - middle[k])]);
    };
    for (let b = 0; b < inner.length; b += 2) join(inner[b], inner[b + 1], [0, 0, 0]);
    for (let b = 0; b < crossing.length; b += 5) join(crossing[b], crossing[b + 1], crossing.slice(b + 2, b + 5));
    const edges = [];
    const PIECES = 6; // so that an edge can pass behind one atom and before another
    for (let axis = 0; axis < 3; axis++) {
      for (let u = 0; u < 2; u++) {
        for (let v = 0; v < 2; v++) {
          const at = (t) => {
            const f = [0, 0, 0];
            f[axis] = t; f[(axis + 1) % 3] = u; f[(axis + 2) % 3] = v;
            return [0, 1, 2].map((k) => f[0] * cell[0][k] + f[1] * cell[1][k] + f[2] * cell[2][k] - centre[k]);
          };
          for (let p = 0; p < PIECES; p++) edges.push([at(p / PIECES), at((p + 1) / PIECES)]);
        }
      }
    }
    const size = Math.max(...edges.map(([a]) => Math.hypot(...a)));
    scene = { atoms, kind, count, half, edges, size };
    legend();
  }

  function colour(i) {
    const usual = data.usual[scene.kind[i]];
    if (mode === "element") return data.elements[scene.kind[i]].colour;
    return scene.count[i] < usual ? FEWER : scene.count[i] > usual ? MORE : USUAL;
  }

  function legend() {
    const used = [...new Set(scene.kind)].sort((a, b) => a - b);
    const number = (e, test) => scene.kind.filter((k, i) => k === e && test(scene.count[i])).length;
    const entries = [];
    for (const e of used) {
      const { symbol, colour: own } = data.elements[e], usual = data.usual[e];
      if (mode === "element") {
        entries.push([own, `${symbol} (${number(e, () => true)})`]);
      } else {
        entries.push([FEWER, `${symbol}, fewer than ${usual} neighbours (${number(e, (n) => n < usual)})`]);
        entries.push([USUAL, `${symbol}, ${usual} (${number(e, (n) => n === usual)})`]);
        entries.push([MORE, `${symbol}, more (${number(e, (n) => n > usual)})`]);
      }
    }
    find("viewer-legend").replaceChildren(...entries.map(([c, text]) => {
      const item = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = c;
      item.append(dot, text);
      return item;
    }));
  }

  // A shaded sphere of one colour at one depth level, drawn once and copied for every atom.
  function sprite(hex, level, fog) {
    const key = hex + level;
    if (sprites[key]) return sprites[key];
    const image = document.createElement("canvas"), n = 96;
    image.width = image.height = n;
    const c = image.getContext("2d"), fade = 0.8 * level / (LEVELS - 1), base = rgb(hex);
    const shade = c.createRadialGradient(0.37 * n, 0.33 * n, 0.02 * n, 0.5 * n, 0.5 * n, 0.5 * n);
    shade.addColorStop(0, css(mix(mix(base, [255, 255, 255], 0.65), fog, fade)));
    shade.addColorStop(0.45, css(mix(base, fog, fade)));
    shade.addColorStop(0.95, css(mix(mix(base, [0, 0, 0], 0.45), fog, fade)));
    shade.addColorStop(1, css(mix(mix(base, [0, 0, 0], 0.6), fog, fade)));
    c.fillStyle = shade;
    c.beginPath();
    c.arc(n / 2, n / 2, n / 2 - 1, 0, 7);
    c.fill();
    return (sprites[key] = image);
  }

  function draw() {
    pending = false;
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    if (!w) return;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
    }
    const style = getComputedStyle(canvas), fog = rgb(style.getPropertyValue("--card").trim());
    const line = style.getPropertyValue("--muted").trim();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, w, h);
    const { size, atoms, kind, half, edges } = scene;
    const distance = 4.5 * size, scale = (0.6 * Math.min(w, h) * zoom / size) * (distance - size) / distance;
    const project = (p) => {
      const q = turn.map((row) => row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
      const f = scale * distance / (distance - q[2]);
      return [w / 2 + pan[0] + f * q[0], h / 2 + pan[1] - f * q[1], q[2], f];
    };
    const level = (z) => Math.max(0, Math.min(LEVELS - 1, Math.round((0.5 - z / (2 * size)) * (LEVELS - 1))));
    const front = size * (2 * cut - 1);
    const at = atoms.map(project), items = [];
    drawn = [];
    at.forEach((p, i) => { if (p[2] <= front) items.push([p[2], 0, i]); });
    if (bonds) half.forEach(([i, end], k) => { if (at[i][2] <= front) items.push([0, 1, k, project(end)]); });
    for (const item of items) if (item[1] === 1) item[0] = (at[half[item[2]][0]][2] + item[3][2]) / 2 - 0.05;
    edges.forEach(([a, b]) => { const p = project(a), q = project(b); items.push([(p[2] + q[2]) / 2, 2, p, q]); });
    items.sort((a, b) => a[0] - b[0]);
    context.lineCap = "round";
    for (const [z, what, k, end] of items) {
      if (what === 0) {
        const r = data.elements[kind[k]].radius * at[k][3];
        context.drawImage(sprite(colour(k), level(z), fog), at[k][0] - r, at[k][1] - r, 2 * r, 2 * r);
        drawn.push([k, at[k][0], at[k][1], r]);
      } else {
        const from = what === 1 ? at[half[k][0]] : k;
        const fade = 0.8 * level(z) / (LEVELS - 1);
        context.strokeStyle = what === 1 ? css(mix(mix(rgb(colour(half[k][0])), [0, 0, 0], 0.2), fog, fade)) : line;
        context.lineWidth = what === 1 ? 0.2 * from[3] : 1;
        context.globalAlpha = what === 1 ? 1 : 0.7;
        context.beginPath();
        context.moveTo(from[0], from[1]);
        context.lineTo(end[0], end[1]);
        context.stroke();
        context.globalAlpha = 1;
      }
    }
  }

  function redraw() {
    if (!pending) {
      pending = true;
      requestAnimationFrame(draw);
    }
  }

  // One pointer turns, two pinch and move; the wheel and the keys do the same.
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return [Math.hypot(a[0] - b[0], a[1] - b[1]), (a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  };
  const rescale = (factor) => { zoom = Math.max(0.4, Math.min(12, zoom * factor)); };
  function rotate(dx, dy) {
    turn = multiply(multiply(rotation(0, dy), rotation(1, dx)), turn);
  }
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return name(event);
    const before = pointers.size === 2 ? spread() : null;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (before) {
      const after = spread();
      rescale(after[0] / Math.max(before[0], 1));
      pan = [pan[0] + after[1] - before[1], pan[1] + after[2] - before[2]];
    } else if (event.shiftKey) {
      pan = [pan[0] + event.clientX - last[0], pan[1] + event.clientY - last[1]];
    } else {
      rotate(0.008 * (event.clientX - last[0]), 0.008 * (event.clientY - last[1]));
    }
    redraw();
  });
  for (const kind of ["pointerup", "pointercancel", "pointerleave"]) {
    canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    rescale(Math.exp(-0.0015 * event.deltaY));
    redraw();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => rotate(-0.1, 0), ArrowRight: () => rotate(0.1, 0),
      ArrowUp: () => rotate(0, -0.1), ArrowDown: () => rotate(0, 0.1),
      "+": () => rescale(1.15), "=": () => rescale(1.15), "-": () => rescale(1 / 1.15),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    redraw();
  });

  // The atom under the pointer says what it is.
  function name(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const hit = drawn.findLast(([, u, v, r]) => Math.hypot(u - x, v - y) < r);
    const words = (n) => `${n} neighbour${n === 1 ? "" : "s"}`;
    find("viewer-atom").textContent = hit
      ? `${data.elements[scene.kind[hit[0]]].symbol}, atom ${hit[0]}: ${words(scene.count[hit[0]])}` : "";
  }

  find("viewer-replica").addEventListener("change", (event) => { replica = Number(event.target.value); build(); redraw(); });
  find("viewer-colour").addEventListener("change", (event) => { mode = event.target.value; legend(); redraw(); });
  find("viewer-bonds").addEventListener("change", (event) => { bonds = event.target.checked; redraw(); });
  find("viewer-cut").addEventListener("input", (event) => { cut = Number(event.target.value); redraw(); });
  find("viewer-reset").addEventListener("click", () => {
    zoom = 1; pan = [0, 0]; cut = 1; find("viewer-cut").value = "1";
    turn = multiply(rotation(0, -0.35), rotation(1, 0.5));
    redraw();
  });
  const repaint = () => { sprites = {}; draw(); };
  window.addEventListener("resize", redraw);
  window.addEventListener("beforeprint", repaint);
  window.addEventListener("afterprint", repaint);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  window.matchMedia("print").addEventListener("change", repaint);
  find("viewer-colour").value = mode;
  build();
  draw();
})();
