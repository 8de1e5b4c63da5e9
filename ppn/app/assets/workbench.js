// Runs once, when the page has the HTML beside this file; `element` holds it, `server` the answers.
// The page keeps what was switched off and flagged; the program keeps nothing of it.
const find = (name) => element.querySelector(name);
const make = (kind, name, text) => {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const root = find(".bench");
const LIMIT = 20e6; // bytes of a file, as the program has it
let told = null; // what `begin_bench` said
let shown = null; // what `explain_image` said last
let source = null; // what the image is sent as again, should the program have forgotten it
let asked = 0, lit = null, pinned = null;
const off = new Map(), flags = new Map(), maps = new Map(), likes = new Map();
const key = (label, part) => label + ":" + part;

const tell = (text) => { const box = find(".notice"); box.textContent = text; box.hidden = !text; };

async function call(name, given) {
  let found; // nothing where the program is gone: Gradio's client raises no error then
  try { found = await server[name](given); } catch { found = null; }
  if (!found) { tell("The program does not answer: start it again and reload this page."); return null; }
  if (found.error) { tell(found.error); return null; }
  return found;
}

// The newest question alone is answered on the page.
async function explain(given) {
  const mine = ++asked;
  const rest = { off: [...off.values()].map(({ label, part }) => [label, part]), ...given };
  find(".told").classList.add("waiting");
  let found = await call("explain_image", rest);
  if (found && found.gone && source) found = await call("explain_image", { ...source, ...rest, image: null });
  if (mine !== asked) return;
  find(".told").classList.remove("waiting");
  if (!found || found.gone) return;
  tell("");
  if (!shown || found.image !== shown.image) { maps.clear(); pinned = lit = null; }
  else if (found.label !== shown.label) pinned = lit = null;
  shown = found;
  draw();
}
const again = (changed) => shown && explain({ image: shown.image, label: shown.label, against: shown.versus ? shown.versus.label : null, ...changed });

function open(file) {
  if (!file) return;
  if (file.size > LIMIT) { tell("The file has more than 20 MB: drop a smaller copy of the image."); return; }
  const reader = new FileReader();
  reader.onerror = () => tell("The file cannot be read: choose another one.");
  reader.onload = () => {
    source = { upload: reader.result, name: file.name || "image" };
    explain(source);
  };
  reader.readAsDataURL(file);
}

async function over(part) {
  if (part === lit || !shown) return;
  lit = part;
  element.querySelectorAll(".row").forEach((row) => row.classList.toggle("lit", row.dataset.part === String(part)));
  const image = shown.image, label = shown.label, picture = find(".over");
  if (part === null) { picture.hidden = true; return; }
  const place = image + label;
  if (!maps.has(place)) maps.set(place, call("show_maps", { image, label }));
  const found = await maps.get(place);
  if (lit !== part || !shown || shown.image !== image || shown.label !== label) return;
  if (!found || found.gone) { maps.delete(place); return; }
  picture.src = found.maps[part];
  picture.alt = "Where " + told.parts[part].title + " of " + told.classes[label] + " is found";
  picture.hidden = false;
  like(label, part);
}

async function like(label, part) {
  const at = key(label, part);
  if (!likes.has(at)) likes.set(at, call("show_patches", { label, part }));
  const found = await likes.get(at);
  if (lit !== part || shown.label !== label) return;
  if (!found) { likes.delete(at); return; }
  find(".like h2").textContent = told.parts[part].title + " in training images of " + told.classes[label];
  const strip = find(".like .strip");
  strip.replaceChildren(...found.patches.map(({ whole, name }) => {
    const figure = make("figure"), image = make("img");
    image.src = whole;
    image.alt = "Training image " + name + ", the patch in a box";
    figure.append(image, make("figcaption", "", name.split("/").pop()));
    return figure;
  }));
  if (!found.patches.length) strip.append(make("p", "small", "There are no pictures of training patches beside the checkpoint: give --gallery or --data."));
  find(".like").hidden = false;
}

function draw() {
  const picture = find(".picture");
  root.classList.remove("blank");
  find(".invite").hidden = true;
  picture.onload = () => frame.style.setProperty("--aspect", picture.naturalWidth / picture.naturalHeight);
  picture.src = shown.picture;
  picture.alt = shown.name;
  picture.hidden = false;
  find("figcaption").textContent = shown.name.split("/").pop() + (shown.true ? " · true class: " + shown.true : "");
  find("figcaption").title = shown.name;
  find(".told").hidden = false;
  find(".label").value = shown.label;
  const rival = find(".against");
  [...rival.options].forEach((option) => { option.disabled = option.value === String(shown.label) || (option.value !== "" && !told.known[option.value]); });
  rival.value = shown.versus ? shown.versus.label : "";
  find(".verdict").textContent = told.classes[shown.label] + ": " + shown.verdict;
  find(".caution").textContent = shown.caution;
  find(".caution").hidden = !shown.caution;
  rows();
  find(".logit").textContent = shown.logit.text;
  const moved = find(".moved");
  moved.replaceChildren();
  if (shown.logit.change) moved.append(make("span", shown.logit.change[0] === "+" ? "up" : "down", shown.logit.change), " from " + shown.logit.before);
  find(".check").textContent = shown.notes.find((note) => /add up/.test(note)) || "";
  find(".notes ul").replaceChildren(...[...told.notes, ...shown.notes].map((note) => make("li", "", note)));
  find(".likely ol").replaceChildren(...shown.ranking.map((one, rank) => {
    const line = make("li", rank ? "" : "first"), name = make("button", "", told.classes[one.label]);
    name.type = "button";
    name.addEventListener("click", () => again({ label: one.label, against: null }));
    line.style.setProperty("--p", one.probability);
    const logit = make("span", "small", one.logit);
    if (one.change) logit.append(" ", make("span", one.change[0] === "+" ? "up" : "down", one.change));
    line.append(name, logit, make("span", "", one.percent));
    return line;
  }));
  versus();
  set();
  keep();
  if (lit !== null) { const part = lit; lit = null; over(part); } else over(null);
}

function rows() {
  // A staircase: each bar begins where the last one ended; what is off is drawn, but not counted.
  let sum = 0;
  const steps = [];
  for (const term of shown.terms) {
    const is = !off.has(key(shown.label, term.index));
    const size = is ? term.value : term.was;
    steps.push({ from: sum, to: sum + size });
    if (is) sum += size;
  }
  steps.push({ from: sum, to: sum + shown.bias.value });
  const ends = steps.flatMap(({ from, to }) => [from, to]);
  const low = Math.min(0, ...ends), high = Math.max(0, ...ends), span = high - low || 1;
  const track = ({ from, to }) => {
    const box = make("div", "track"), bar = make("i", to < from ? "minus" : "");
    box.style.setProperty("--zero", 100 * -low / span + "%");
    bar.style.left = 100 * (Math.min(from, to) - low) / span + "%";
    bar.style.width = 100 * Math.abs(to - from) / span + "%";
    box.append(bar);
    return box;
  };
  const list = find(".rows");
  const held = document.activeElement && list.contains(document.activeElement) ? [document.activeElement.closest(".row").dataset.part, document.activeElement.className] : null;
  list.replaceChildren(...shown.terms.map((term, place) => {
    const label = shown.label, part = told.parts[term.index], at = key(label, term.index), is = !off.has(at);
    const row = make("li", "row" + (is ? "" : " off")), toggle = make("input", "switch"), name = make("button", "name"), flag = make("button", "flag", "Flag");
    row.dataset.part = term.index;
    row.style.setProperty("--c", part.colour);
    row.style.setProperty("--on", part.on);
    toggle.type = "checkbox";
    toggle.setAttribute("role", "switch");
    toggle.checked = is;
    toggle.disabled = is && term.was === 0;
    toggle.setAttribute("aria-label", part.title + " counts");
    toggle.addEventListener("change", () => { is ? off.set(at, { label, part: term.index }) : off.delete(at); again(); });
    name.type = flag.type = "button";
    name.append(make("span", "number", term.index + 1), make("b", "", part.title));
    name.setAttribute("aria-label", "Show " + part.title);
    name.addEventListener("click", () => { pinned = pinned === term.index ? null : term.index; over(term.index); });
    flag.setAttribute("aria-pressed", String(flags.has(at)));
    flag.setAttribute("aria-label", "Flag " + part.title);
    flag.addEventListener("click", () => { flags.has(at) ? flags.delete(at) : flags.set(at, { label, part: term.index, reason: "" }); flag.setAttribute("aria-pressed", String(flags.has(at))); keep(); });
    row.addEventListener("mouseenter", () => over(term.index));
    row.addEventListener("mouseleave", () => over(pinned));
    row.addEventListener("focusin", () => over(term.index));
    row.append(toggle, name, track(steps[place]), make("span", "value", is ? term.text : term.before), flag);
    return row;
  }));
  const bias = make("li", "row bias");
  bias.append(make("span"), make("span", "name", "Bias"), track(steps[steps.length - 1]), make("span", "value", shown.bias.text), make("span"));
  list.append(bias);
  if (held) { const again = list.querySelector('[data-part="' + held[0] + '"] .' + held[1].split(" ")[0]); if (again) again.focus(); }
}

function versus() {
  const found = shown.versus, box = find(".versus");
  box.hidden = !found;
  if (!found) return;
  const mine = told.classes[shown.label], theirs = told.classes[found.label];
  find(".versus h2").textContent = "Why " + mine + " and not " + theirs;
  find(".versus .said").textContent = found.verdict;
  const head = make("tr");
  for (const text of [mine, "adds", theirs, "adds", "difference"]) head.append(Object.assign(make("th", "", text), { scope: "col" }));
  find(".versus thead").replaceChildren(head);
  const named = (index) => {
    const cell = make("td"), dot = make("span", "number", index + 1);
    dot.style.setProperty("--c", told.parts[index].colour);
    dot.style.setProperty("--on", told.parts[index].on);
    cell.append(dot, told.parts[index].title);
    return cell;
  };
  const lines = found.pairs.map(({ first, second, values, text }) => {
    const line = make("tr");
    line.append(named(first), make("td", "", values[0]), named(second), make("td", "", values[1]), make("td", "", text));
    return line;
  });
  for (const [name, text, kind] of [["Bias", found.bias.text, ""], ["Difference of the logits", found.total, "whole"]]) {
    const line = make("tr", kind), cell = make("td", "", name);
    cell.colSpan = 4;
    line.append(cell, make("td", "", text));
    lines.push(line);
  }
  find(".versus tbody").replaceChildren(...lines);
  find(".versus .note").textContent = found.note;
}

function set() {
  const found = shown.set;
  find(".set").hidden = !found;
  if (!found) return;
  find(".set h2").textContent = "On " + told.set;
  const line = find(".accuracy");
  line.replaceChildren("Accuracy " + found.after + " ");
  if (found.changed) line.append(make("span", found.gain > 0 ? "up" : found.gain < 0 ? "down" : "", (found.right ? found.right + " right" : "as before") + ", was " + found.before + "; " + found.changed + (found.changed === 1 ? " prediction changes" : " predictions change")));
  else if (off.size) line.append(make("span", "", "as before: no prediction changes"));
  else line.append(make("span", "", "switch parts off and watch it move"));
  const told_ = found.classes.map(({ label, recall, predicted }) => told.classes[label] + ": " + (recall ? recall[0] + " → " + recall[1] + " of its images found, " : "") + predicted[0] + " → " + predicted[1] + " images predicted as it");
  const pairs = found.confusions.map((pair) => pair.true + " taken for " + pair.predicted + ": " + pair.before + " → " + pair.after);
  find(".set ul").replaceChildren(...[...told_, ...pairs].map((text) => make("li", "", text)));
}

function keep() {
  const lines = [];
  for (const [at, { label, part }] of off) lines.push(entry(told.parts[part].title + " of " + told.classes[label] + " is off", "Undo", () => { off.delete(at); again(); }));
  for (const [at, flag] of flags) {
    const title = told.parts[flag.part].title + " of " + told.classes[flag.label];
    const line = entry(title + " is flagged:", "Remove", () => { flags.delete(at); rows(); keep(); });
    const why = make("input");
    why.maxLength = 200;
    why.value = flag.reason;
    why.placeholder = "why? such as: background";
    why.setAttribute("aria-label", "Why " + title + " is flagged");
    why.addEventListener("input", () => { flag.reason = why.value; });
    line.insertBefore(why, line.lastChild);
    lines.push(line);
  }
  find(".keep ul").replaceChildren(...lines);
  find(".keep").hidden = !lines.length;
  find(".saved").textContent = told.saves ? "" : "Nothing is saved here: start ppn app with --out FOLDER.";
  find(".save").disabled = !told.saves;
  find(".command").textContent = shown.command;
  find(".command").hidden = !shown.command || !off.size;
}

function entry(text, action, act) {
  const line = make("li"), button = make("button", "", action);
  button.type = "button";
  button.addEventListener("click", act);
  line.append(make("span", "", text), button);
  return line;
}

find(".open input").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
const frame = find(".frame");
for (const kind of ["dragover", "dragenter"]) element.addEventListener(kind, (event) => { event.preventDefault(); frame.classList.add("drop"); });
element.addEventListener("dragleave", (event) => { if (!element.contains(event.relatedTarget)) frame.classList.remove("drop"); });
element.addEventListener("drop", (event) => { event.preventDefault(); frame.classList.remove("drop"); open(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => { if (element.offsetParent && event.clipboardData.files.length) open(event.clipboardData.files[0]); });
find(".label").addEventListener("change", (event) => again({ label: Number(event.target.value), against: null }));
find(".against").addEventListener("change", (event) => again({ against: event.target.value === "" ? null : Number(event.target.value) }));
find(".clear").addEventListener("click", () => { off.clear(); flags.clear(); again(); });
find(".save").addEventListener("click", async () => {
  find(".save").disabled = true;
  find(".saved").textContent = "Saving";
  const found = await call("save_network", { off: [...off.values()].map(({ label, part }) => [label, part]), flags: [...flags.values()] });
  find(".save").disabled = false;
  find(".saved").textContent = found ? "Saved in " + found.folder + "." : "";
});

(async () => {
  told = await call("begin_bench", {});
  if (!told) return;
  find(".model").textContent = told.model + ": every logit is a sum of parts";
  const options = (first) => [...first, ...told.classes.map((name, label) => { const option = new Option(name, label); option.disabled = !told.known[label]; return option; })];
  find(".label").replaceChildren(...options([]));
  find(".against").replaceChildren(...options([new Option("no other class", "")]));
  if (told.examples.length) {
    find(".examples h2").textContent = "From the " + told.set;
    find(".examples .strip").replaceChildren(...told.examples.map(({ position, name, picture, true: true_, wrong }) => {
      const button = make("button"), image = make("img");
      button.type = "button";
      button.title = name;
      image.src = picture;
      image.alt = "";
      button.append(image, make("span", "", true_));
      if (wrong) button.append(make("span", "wrong", "taken for " + wrong));
      button.addEventListener("click", () => { source = { example: position }; explain(source); });
      return button;
    }));
    find(".examples").hidden = false;
  }
})();
