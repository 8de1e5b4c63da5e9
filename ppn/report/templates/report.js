"use strict";
// Everything can be read without this script; it only folds, filters and switches.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // One explained image at a time, chosen from the film strip.
  const strip = document.querySelector(".filmstrip");
  if (strip) {
    const buttons = all("button", strip);
    const show = (id) => {
      all(".sample").forEach((sample) => sample.classList.toggle("away", id !== "" && sample.id !== id));
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.sample === id)));
    };
    buttons.forEach((button) => button.addEventListener("click", () => show(button.dataset.sample)));
    strip.hidden = false;
    show(buttons[0].dataset.sample);
  }

  // Tables are sorted by a click on the head of a column, the other way round by a second one.
  all("table.sortable").forEach((table) => {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      const key = (row) => {
        const cell = row.cells[column];
        return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
      };
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
        const rows = all("tr", body).map((row) => [key(row), row]);
        rows.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
        body.append(...rows.map(([, row]) => row));
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
      });
    });
  });

  const gallery = document.querySelector(".gallery");
  if (!gallery) return;
  const toolbar = document.querySelector(".toolbar");
  const classes = all("details.class", gallery);
  toolbar.hidden = false;

  const filter = document.getElementById("filter");
  const count = toolbar.querySelector(".count");
  const nothing = document.querySelector(".nothing");
  // Underscores and hyphens in a class's name are as good as spaces.
  const plain = (text) => text.toLowerCase().replace(/[\s_.-]+/g, " ").trim();
  filter.addEventListener("input", () => {
    const words = plain(filter.value).split(" ").filter(Boolean);
    let shown = 0;
    classes.forEach((item) => {
      const name = plain(item.dataset.name);
      item.hidden = !words.every((word) => name.includes(word));
      shown += item.hidden ? 0 : 1;
    });
    const total = classes.length;
    count.textContent = shown === total ? `${total} classes` : `${shown} of ${total} classes`;
    nothing.hidden = shown > 0;
  });

  const views = all("[data-view]", toolbar);
  views.forEach((button) => button.addEventListener("click", () => {
    gallery.dataset.view = button.dataset.view;
    views.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  }));

  const fold = toolbar.querySelector(".fold");
  fold.addEventListener("click", () => {
    const open = fold.dataset.fold === "open";
    classes.forEach((item) => { item.open = open; });
    fold.dataset.fold = open ? "close" : "open";
    fold.textContent = open ? "Close all" : "Open all";
  });

  // On paper everything is unfolded, and folded again afterwards.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    folded.forEach((item) => { item.open = true; });
  });
  window.addEventListener("afterprint", () => folded.forEach((item) => { item.open = false; }));
})();
