"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const search = byId("search"), matches = byId("matches");
  let levels = 0;
  let chosen = []; // the history, oldest first
  let found = [], active = -1;
  let searching = null, asking = null, typed = 0;

  /** An element; text goes in as text, whatever it holds. */
  const make = (name, className, ...children) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  /** Text of a data set: no control characters, not too long, its direction kept to itself. */
  const foreign = (text, longest = 600) => {
    const plain = text.slice(0, 600).replace(/[\p{Cc}\u2028\u2029\s]+/gu, " ").trim();
    const shown = make("bdi", "", plain.length > longest ? `${plain.slice(0, longest)}…` : plain);
    shown.title = plain;
    return shown;
  };
  const button = (label, spoken, act) => {
    const made = make("button", "", label);
    made.type = "button";
    if (spoken) made.setAttribute("aria-label", spoken);
    made.addEventListener("click", act);
    return made;
  };
  const count = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

  async function ask(address, options) {
    const response = await fetch(address, options);
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.error || `the service answered ${response.status}`);
    return answer;
  }
  function say(place, text, isProblem = false) {
    byId(place).textContent = text;
    byId(place).classList.toggle("problem", isProblem);
  }
  const fail = (place, error) => {
    if (error.name !== "AbortError") say(place, `That did not work: ${error.message}`, true);
  };

  // --- tokens ------------------------------------------------------------------------------------

  const alike = (one, other) => {
    let length = 0;
    while (length < one.length && one[length] === other[length]) length++;
    return length;
  };
  /** The item of the history that shares most tokens, the latest of several. */
  function nearest(item) {
    let best = { shared: 0, with: null };
    for (const other of chosen) {
      const shared = alike(item.codes, other.codes);
      if (shared && shared >= best.shared) best = { shared, with: other };
    }
    return best;
  }
  function chips(codes, shared) {
    if (!codes.length) return null;
    const row = make("div", "codes", ...codes.map((code, level) =>
      make("span", level < shared ? "chip shared" : "chip", String(code))));
    row.setAttribute("role", "img");
    row.setAttribute("aria-label", `tokens ${codes.join(" ")}` + (shared ? `, the first ${shared} shared` : ""));
    return row;
  }

  // --- searching ---------------------------------------------------------------------------------

  function close() {
    matches.hidden = true;
    active = -1;
    search.setAttribute("aria-expanded", "false");
    search.removeAttribute("aria-activedescendant");
  }
  function mark(number) {
    active = number;
    [...matches.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === active)));
    if (active < 0) { search.removeAttribute("aria-activedescendant"); return; }
    search.setAttribute("aria-activedescendant", matches.children[active].id);
    matches.children[active].scrollIntoView({ block: "nearest" });
  }
  function listMatches(items) {
    found = items;
    matches.replaceChildren(...items.map((item, at) => {
      const option = make("li", "", foreign(item.title));
      option.id = `match-${at}`;
      option.setAttribute("role", "option");
      option.addEventListener("mousedown", (event) => { event.preventDefault(); take(at); });
      return option;
    }));
    matches.hidden = !items.length;
    search.setAttribute("aria-expanded", String(items.length > 0));
    mark(items.length ? 0 : -1);
  }
  async function look() {
    const words = search.value.trim();
    searching?.abort();
    searching = null;
    if (!words) { listMatches([]); close(); say("search-status", ""); return; }
    const mine = searching = new AbortController();
    try {
      const { items } = await ask(`items?limit=12&q=${encodeURIComponent(words)}`, { signal: mine.signal });
      if (mine.signal.aborted) return;
      listMatches(items);
      say("search-status", items.length ? "" : "No item has these words.");
    } catch (error) { fail("search-status", error); }
  }
  function take(at) {
    const item = found[at];
    if (!item) return;
    search.value = "";
    listMatches([]);
    close();
    add(item);
    search.focus();
  }
  search.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(look, 120); });
  search.addEventListener("blur", close);
  search.addEventListener("keydown", (event) => {
    const last = found.length - 1;
    if (event.key === "ArrowDown" && last >= 0) { matches.hidden = false; mark(active >= last ? 0 : active + 1); }
    else if (event.key === "ArrowUp" && last >= 0) { matches.hidden = false; mark(active <= 0 ? last : active - 1); }
    else if (event.key === "Enter" && !matches.hidden && active >= 0) take(active);
    else if (event.key === "Escape") close();
    else if (event.key === "Backspace" && !search.value && chosen.length) { remove(chosen.length - 1); return; }
    else return;
    event.preventDefault();
  });

  // --- the history -------------------------------------------------------------------------------

  function add(item) { chosen = [...chosen, item]; changed(); }
  function remove(at) { chosen = chosen.filter((_, place) => place !== at); changed(); }

  function changed() {
    byId("history").replaceChildren(...chosen.map((item, at) => make("li", "",
      make("span", "place", `${at + 1}.`),
      make("div", "title", foreign(item.title), chips(item.codes, 0)),
      button("✕", `Remove ${item.title.slice(0, 100)}`, () => { remove(at); search.focus(); }))));
    for (const id of ["start", "starters"]) byId(id).hidden = chosen.length > 0;
    byId("clear").hidden = chosen.length < 2;
    recommend();
  }
  byId("clear").addEventListener("click", () => { chosen = []; changed(); search.focus(); });

  // --- recommendations ---------------------------------------------------------------------------

  async function recommend() {
    asking?.abort();
    asking = null;
    if (!chosen.length) {
      byId("next").replaceChildren();
      byId("legend").hidden = true;
      say("status", "Recommendations appear as soon as the history has an item.");
      return;
    }
    const mine = asking = new AbortController();
    const question = {
      history: chosen.map((item) => item.id), k: Number(byId("count").value), seen: byId("seen").checked,
    };
    try {
      const { items } = await ask("recommend", {
        method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify(question), signal: mine.signal,
      });
      if (mine.signal.aborted) return;
      byId("next").replaceChildren(...items.map(listed));
      byId("legend").hidden = !levels;
      say("status", `${count(items.length, "item")} after a history of ${chosen.length}.`);
    } catch (error) { fail("status", error); }
  }
  function listed(item, at) {
    const near = nearest(item);
    const why = near.with && make("p", "why",
      `${near.shared} of ${count(item.codes.length, "token")} shared with `, foreign(near.with.title, 70));
    const name = item.title.slice(0, 100);
    const row = make("li", "",
      make("span", "place", `${at + 1}.`),
      make("div", "title", foreign(item.title), chips(item.codes, near.shared)),
      make("div", "tools",
        button("Add", `Add ${name} to the history`, () => add(item)),
        button("Similar", `Items similar to ${name}`, (event) => similar(item, row, event.currentTarget))),
      why);
    row.dataset.id = item.id;
    return row;
  }
  async function similar(item, row, opener) {
    const open = row.querySelector(".like");
    opener.setAttribute("aria-expanded", String(!open));
    if (open) { open.remove(); return; }
    const list = make("ul", "like");
    row.append(list);
    try {
      const { items } = await ask(`similar?k=5&item=${encodeURIComponent(item.id)}`);
      list.append(...items.map((one) => make("li", "", foreign(one.title), chips(one.codes, alike(one.codes, item.codes)))));
    } catch (error) { list.append(make("li", "", `That did not work: ${error.message}`)); }
  }
  for (const id of ["count", "seen"]) byId(id).addEventListener("change", recommend);

  // --- start -------------------------------------------------------------------------------------

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  async function start() {
    try {
      const health = await ask("health");
      levels = health.levels;
      byId("serves").textContent = `${health.model} on ${health.dataset}, ${count(health.items, "item")}`;
      const { items } = await ask("items?limit=5");
      byId("starters").replaceChildren(...items.map((item) =>
        make("li", "", button(foreign(item.title), "", () => { add(item); search.focus(); }))));
    } catch (error) { fail("status", error); }
    document.body.dataset.ready = "yes";
  }
  start();
})();
