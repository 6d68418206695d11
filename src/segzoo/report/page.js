"use strict";
document.documentElement.classList.add("js");

for (const figure of document.querySelectorAll(".exhibit")) {
  const range = figure.querySelector("input[type=range]");
  if (!range) continue;
  const stage = figure.querySelector(".stage");
  const layers = [...figure.querySelectorAll(".layer")];
  const divider = figure.querySelector(".divider");
  const stops = [...figure.querySelectorAll("[data-stop]")];
  const last = layers.length - 1;

  const show = () => {
    const at = Number(range.value);
    layers.forEach((layer, number) => {
      const seen = Math.min(1, Math.max(0, at - number + 1));
      layer.style.clipPath = number ? `inset(0 ${100 * (1 - seen)}% 0 0)` : "";
    });
    const part = at - Math.floor(at);
    divider.style.left = `${100 * part}%`;
    divider.style.visibility = part ? "visible" : "hidden";
    stops.forEach((stop, number) => stop.setAttribute("aria-pressed", String(number === at)));
    const names = stops.map((stop) => stop.textContent);
    const over = Math.floor(at);
    range.setAttribute(
      "aria-valuetext",
      part ? `${names[over + 1]}, ${Math.round(100 * part)} % over ${names[over]}` : names[over]
    );
  };
  // Dragging on the picture moves the border between the two pictures that were looked at last.
  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    const share = Math.min(0.99, Math.max(0.01, (event.clientX - box.left) / box.width));
    const from = Math.min(last - 1, Math.max(0, Math.ceil(Number(range.value)) - 1));
    range.value = String(from + share);
    show();
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });
  range.addEventListener("input", show);
  stops.forEach((stop) =>
    stop.addEventListener("click", () => {
      range.value = stop.dataset.stop;
      show();
    })
  );
  range.value = String(Math.min(last, 1.5));
  show();
}

for (const table of document.querySelectorAll(".table table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) =>
    head.querySelector(".sort").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].textContent.trim();
      const number = (text) => Number.parseFloat(text.replaceAll(",", ""));
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (column === 0) return x.localeCompare(y, undefined, { numeric: true });
        const [m, n] = [number(x), number(y)];
        if (Number.isNaN(m) || Number.isNaN(n)) return (Number.isNaN(m) - Number.isNaN(n)) * (up ? 1 : -1);
        return m - n;
      };
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(a, b));
      body.append(...rows);
    })
  );
}
