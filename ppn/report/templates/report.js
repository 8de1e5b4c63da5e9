"use strict";
// Everything can be read without this script; it only folds, filters and switches.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Plain words first; those of the method on a switch, which a browser remembers.
  const technical = document.getElementById("technical");
  if (technical) {
    const keep = (value) => { try { localStorage.setItem("ppn-technical", value); } catch { /* not allowed here */ } };
    const kept = () => { try { return localStorage.getItem("ppn-technical"); } catch { return null; } };
    const set = (on) => document.documentElement.classList.toggle("plain", !on);
    technical.checked = kept() === "1";
    technical.addEventListener("change", () => { set(technical.checked); keep(technical.checked ? "1" : "0"); });
    technical.closest("li").hidden = false;
    set(technical.checked);
  }

  // One explained image at a time, chosen from the film strip, by the arrow keys or by its address.
  let step = () => {};
  const typing = (target) => target.closest("input, textarea, select, .table, .sections");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || typing(event.target)) return;
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const to = document.querySelector(event.key === "ArrowLeft" ? "a[rel=prev]" : "a[rel=next]");
    if (to) to.click();
    else step(event.key === "ArrowLeft" ? -1 : 1);
  });
  const strip = document.querySelector(".filmstrip");
  if (strip) {
    const buttons = all("button", strip);
    const show = (id) => {
      all(".sample").forEach((sample) => sample.classList.toggle("away", id !== "" && sample.id !== id));
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.sample === id)));
    };
    const address = (id) => history.replaceState(null, "", id ? "#" + id : "#samples");
    buttons.forEach((button) => button.addEventListener("click", () => { show(button.dataset.sample); address(button.dataset.sample); }));
    strip.hidden = false;
    show(buttons[0].dataset.sample);
    const ids = buttons.map((button) => button.dataset.sample).filter(Boolean);
    const named = () => { const id = location.hash.slice(1); if (ids.includes(id)) { show(id); document.getElementById(id).scrollIntoView(); } };
    window.addEventListener("hashchange", named);
    named();
    step = (by) => {
      const at = ids.findIndex((id) => !document.getElementById(id).classList.contains("away"));
      const to = ids[Math.min(ids.length - 1, Math.max(0, at + by))];
      show(to);
      address(to);
    };
  }

  // What an address names is opened.
  const opened = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target && target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    if (target && target.closest("details")) target.scrollIntoView();
  };
  window.addEventListener("hashchange", opened);
  opened();

  all("table.sortable").forEach((table) => all("thead th", table).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.dataset.kind === "number";
      all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.children[column];
        return head.dataset.kind === "number" ? (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value)) : cell.textContent.trim();
      };
      const empty = (one) => one === "" || Number.isNaN(one);
      const rows = all("tbody tr", table).map((row) => [value(row), row]);
      rows.sort(([a], [b]) => {
        if (empty(a) || empty(b)) return empty(a) - empty(b); // what is not known comes last
        return (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (down ? -1 : 1);
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  }));

  const gallery = document.querySelector(".gallery");
  const toolbar = document.querySelector(".toolbar");
  if (!toolbar) return;
  const classes = all("#classes .class");
  toolbar.hidden = false;

  const filter = document.getElementById("filter");
  const count = toolbar.querySelector(".count");
  const nothing = document.querySelector(".nothing");
  // Underscores and hyphens in a class's name are as good as spaces.
  const plain = (text) => text.toLowerCase().replace(/[\s_.-]+/g, " ").trim();
  if (filter) filter.addEventListener("input", () => {
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
  if (fold) fold.addEventListener("click", () => {
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
