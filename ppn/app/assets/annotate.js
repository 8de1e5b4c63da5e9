// Runs once, when the page has the HTML beside this file; `element` holds it, `server` the answers.
const find = (name) => element.querySelector(name);
const images = new Map(); // position -> promise of the image there
let parts = [], goal = 0, from = 0; // from: images after which the parts are shown
let at = 0, shown = null, part = null, busy = false, asked = 0;
let cross = [.5, .5]; // where the keyboard points, while the image has its focus

const tell = (text) => { const box = find(".notice"); box.textContent = text; box.hidden = !text; };

async function call(name, given) {
  let found; // nothing where the program is gone: Gradio's client raises no error then
  try { found = await server[name](given); } catch { found = null; }
  if (!found) {
    tell("The program does not answer, so the last step is not saved. All marks that you see are: start the program again and reload this page.");
    return null;
  }
  if (found.error || name === "put_answer" || name === "take_back") tell(found.error || "");
  return found.error ? null : found;
}

function imageAt(position) {
  if (!images.has(position)) {
    images.set(position, call("show_image", { position }).then((found) => {
      if (!found || found.end) images.delete(position);
      else new Image().src = found.picture; // decoded before it is wanted
      return found;
    }));
  }
  return images.get(position);
}

const open = () => parts.filter(({ name }) => !(name in shown.answers)).map(({ name }) => name);

async function show(position, wanted) {
  if (position < 0) return;
  const found = await imageAt(position);
  if (!found) return;
  if (found.end) { tell("All images have had their turn."); return; }
  at = position;
  shown = found;
  part = wanted || open()[0] || null;
  const picture = find(".picture");
  picture.src = found.picture;
  picture.alt = found.class;
  picture.hidden = false;
  find(".frame").style.setProperty("--aspect", found.aspect);
  find("figcaption").textContent = found.class + " · " + found.name;
  draw();
  imageAt(position + 1);
}

function draw() {
  const question = find(".question");
  const chosen = parts.find(({ name }) => name === part);
  question.textContent = chosen ? part : "All parts are answered";
  if (chosen) {
    const dot = document.createElement("i"), ask = document.createElement("span");
    dot.style.setProperty("--c", chosen.colour);
    ask.textContent = "where is it?";
    question.prepend(dot);
    question.append(ask);
  }
  const marks = [];
  parts.forEach(({ name, colour }, number) => {
    const button = find(".parts").children[number];
    const answer = shown.answers[name];
    button.setAttribute("aria-pressed", String(name === part));
    button.querySelector(".state").textContent = answer ? "✓" : answer === null ? "not visible" : "";
    if (answer) {
      const mark = document.createElement("span");
      mark.style.setProperty("--c", colour);
      mark.style.left = 100 * answer[0] + "%";
      mark.style.top = 100 * answer[1] + "%";
      mark.textContent = number + 1;
      mark.title = name;
      marks.push(mark);
    }
  });
  find(".marks").replaceChildren(...marks);
  find(".absent").disabled = !chosen;
  find(".frame").classList.toggle("idle", !chosen);
  find(".previous").disabled = at === 0;
  find(".next").classList.toggle("ready", !chosen);
}

function count(done) {
  find(".done").textContent = done;
  find(".goal").textContent = done < goal ? "of " + goal + " images" : done === 1 ? "image" : "images, enough to begin with";
  find(".bar i").style.width = Math.min(100, 100 * done / goal) + "%";
  if (done >= from && done !== asked) { asked = done; look(); }
}

async function look() {
  const found = await call("show_parts", {});
  if (!found) return;
  if (found.ready) {
    find(".note").textContent = found.note;
    find(".rows").replaceChildren(...found.rows.map(row));
  }
  find(".sofar").hidden = !found.ready;
  if (!found.current) setTimeout(look, 3000);
}

function row({ part, colour, pictures }) {
  const box = document.createElement("div"), title = document.createElement("h3"), dot = document.createElement("i");
  box.className = "row";
  dot.style.setProperty("--c", colour);
  title.append(dot, part);
  const strip = document.createElement(pictures.length ? "div" : "p");
  if (!pictures.length) strip.textContent = "Not clicked yet.";
  strip.append(...pictures.map((uri) => Object.assign(new Image(), { src: uri, alt: part })));
  box.append(title, strip);
  return box;
}

async function answer(point) {
  if (busy || !shown || !part) return;
  busy = true;
  const before = open().length;
  const found = await call("put_answer", { position: at, part, point });
  if (found) {
    shown.answers = found.answers;
    part = open()[0] || null;
    draw();
    count(found.done);
    if (!part && before) { // the image is done: a glance at the last mark, and on
      await new Promise((wake) => setTimeout(wake, 180));
      await show(at + 1);
    }
  }
  busy = false;
}

async function undo() {
  if (busy || !shown) return;
  busy = true;
  const found = await call("take_back", {});
  if (found && found.position !== null) {
    const image = await imageAt(found.position);
    if (image) image.answers = found.answers;
    await show(found.position, found.part);
    count(found.done);
  }
  busy = false;
}

const go = (step) => { if (!busy && shown) show(at + step); };
const choose = (number) => { if (!busy && shown && parts[number]) { part = parts[number].name; draw(); } };

find(".frame").addEventListener("click", (event) => {
  if (event.detail > 1) return; // the second half of a double click is no answer to the next question
  const box = find(".picture").getBoundingClientRect();
  const clamp = (value) => Math.min(1, Math.max(0, value));
  answer([clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)]);
});
function aim() {
  const mark = find(".cross");
  mark.hidden = !find(".frame").matches(":focus");
  mark.style.left = 100 * cross[0] + "%";
  mark.style.top = 100 * cross[1] + "%";
}
find(".frame").addEventListener("mousedown", (event) => event.preventDefault()); // takes no focus: arrows change the image
find(".frame").addEventListener("focus", aim);
find(".frame").addEventListener("blur", aim);
find(".frame").addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !(way || event.key === "Enter")) return;
  event.preventDefault();
  event.stopPropagation();
  if (!way) { if (!event.repeat) answer([...cross]); return; }
  const step = event.shiftKey ? .1 : .01;
  cross = cross.map((value, axis) => Math.min(1, Math.max(0, value + step * way[axis])));
  aim();
});
find(".absent").addEventListener("click", () => answer(null));
find(".undo").addEventListener("click", undo);
find(".previous").addEventListener("click", () => go(-1));
find(".next").addEventListener("click", () => go(1));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !element.offsetParent) return;
  const key = event.key.toLowerCase();
  if (key === "n") event.repeat || answer(null);
  else if (key === "u" || key === "backspace") event.repeat || undo();
  else if (key === "arrowleft") go(-1);
  else if (key === "arrowright") go(1);
  else if (/^[0-9]$/.test(key)) choose((Number(key) + 9) % 10);
  else return;
  event.preventDefault();
});

(async () => {
  const found = await call("begin", {});
  if (!found) return;
  ({ parts, goal, shown: from } = found);
  find(".file").textContent = "Saved in " + found.file;
  find(".parts").replaceChildren(...parts.map(({ name, colour, on }, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.style.setProperty("--c", colour);
    button.style.setProperty("--on", on);
    for (const [kind, text] of [["number", number + 1], ["name", name], ["state", ""]]) {
      const piece = document.createElement("span");
      piece.className = kind;
      piece.textContent = text;
      button.append(piece);
    }
    button.addEventListener("click", () => { choose(number); button.blur(); });
    return button;
  }));
  shown = null;
  await show(found.position);
  count(found.done);
  if (found.remark) tell(found.remark);
})();
