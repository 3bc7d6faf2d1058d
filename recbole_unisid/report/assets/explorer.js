"use strict";
(() => {
  const source = document.getElementById("token-data");
  if (!source) return;
  const SHOWN = 30, SIBLINGS = 12, BRANCHES = 24, SAMPLE = 1000;
  const byId = (id) => document.getElementById(id);
  let data, titles, folded, frequency;
  const groupsOf = new Map();

  /** An element; text goes in as text, whatever it holds. */
  const make = (name, className, ...children) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const isolated = (text) => make("bdi", "", text);
  const count = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;

  async function unpack() {
    const packed = atob(JSON.parse(source.textContent).gzip);
    const bytes = Uint8Array.from(packed, (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    data = JSON.parse(await new Response(stream).text());
    titles = data.titles.map((title, item) => title || data.ids[item]);
    folded = titles.map((title, item) => `${title} ${data.ids[item]}`.toLowerCase());
  }

  const codes = (item, length = data.levels) => data.codes.slice(item * data.levels, item * data.levels + length);

  /** Items by their first codes: "124 84" -> [items]. */
  function groups(length) {
    if (!groupsOf.has(length)) {
      const found = new Map();
      for (let item = 0; item < data.ids.length; item++) {
        const key = codes(item, length).join(" ");
        const members = found.get(key);
        if (members) members.push(item); else found.set(key, [item]);
      }
      groupsOf.set(length, found);
    }
    return groupsOf.get(length);
  }

  const plain = new Set(["and", "are", "for", "from", "its", "the", "with", "you", "your"]);
  const words = (item) => {
    const found = titles[item].toLowerCase().match(/\p{L}[\p{L}\p{N}'’-]{2,}/gu) || [];
    return new Set(found.filter((word) => !plain.has(word)));
  };

  function wordCounts(items) {
    const counts = new Map();
    for (const item of items) for (const word of words(item)) counts.set(word, (counts.get(word) || 0) + 1);
    return counts;
  }

  /** The words and the category that mark a group out from the whole catalogue. */
  function common(items) {
    if (items.length < 3) return "";
    const sample = items.slice(0, SAMPLE);
    frequency ??= wordCounts(data.ids.keys());
    const lift = (word, seen) => Math.log((seen / sample.length) / (frequency.get(word) / data.ids.length));
    const marked = [...wordCounts(sample)]
      .filter(([word, seen]) => seen > 1 && seen >= 0.15 * sample.length && lift(word, seen) > 0.5)
      .sort((a, b) => b[1] * lift(...b) - a[1] * lift(...a))
      .slice(0, 4)
      .map(([word, seen]) => `${word} (${Math.round((100 * seen) / sample.length)} %)`);
    const kinds = new Map();
    for (const item of sample) kinds.set(data.category[item], (kinds.get(data.category[item]) || 0) + 1);
    const [kind, most] = [...kinds].sort((a, b) => b[1] - a[1])[0];
    if (kind && most >= 0.5 * sample.length) {
      marked.push(`category ${data.categories[kind]} (${Math.round((100 * most) / sample.length)} %)`);
    }
    return marked.join(", ");
  }

  const chips = (item, length) => codes(item, length).map((code) => make("span", "chip", String(code)));

  function itemButton(item) {
    const button = make("button", "item", isolated(titles[item]));
    button.type = "button";
    button.addEventListener("click", () => choose(item));
    return make("li", "", button);
  }

  /** Items with the same first codes; those with still more codes in common stand above already. */
  function siblings(item, length) {
    const all = groups(length).get(codes(item, length).join(" "));
    const above = length < data.levels ? groups(length + 1).get(codes(item, length + 1).join(" ")) : [item];
    const known = new Set(above);
    const others = all.filter((other) => !known.has(other));
    const name = length === data.levels ? "all codes" : length === 1 ? "the first code" : `the first ${length} codes`;
    const title = make("h4", "", ...chips(item, length), ` ${count(all.length - 1, "other item")} with ${name}`);
    const shared = common(all);
    const rest = others.length - SIBLINGS;
    return make(
      "div", "siblings", title,
      shared ? make("p", "common", "In common: ", isolated(shared)) : null,
      others.length ? make("ul", "", ...others.slice(0, SIBLINGS).map(itemButton)) : null,
      rest > 0 ? make("p", "note", `and ${count(rest, "more item")}`) : null,
    );
  }

  function choose(item) {
    const panel = byId("token-item");
    const category = data.categories[data.category[item]];
    const about = make("p", "note", "item ", isolated(data.ids[item]), category ? " · " : "", isolated(category));
    const parts = [];
    for (let length = data.levels; length > 0; length--) parts.push(siblings(item, length));
    panel.replaceChildren(make("h3", "", isolated(titles[item])), about, make("p", "", ...chips(item)), ...parts);
    panel.tabIndex = -1;
    panel.scrollIntoView({ block: "nearest" });
  }

  function search() {
    const query = byId("token-search").value.trim().toLowerCase();
    const wanted = query.split(/\s+/);
    const found = [];
    if (query) {
      const prefix = /^\d+( \d+)*$/.test(query) && wanted.length <= data.levels && groups(wanted.length).get(query);
      for (const item of prefix || []) found.push(item);
      const known = new Set(found);
      folded.forEach((text, item) => {
        if (!known.has(item) && wanted.every((word) => text.includes(word))) found.push(item);
      });
    }
    const more = found.length > SHOWN ? `; the first ${SHOWN} are shown` : "";
    byId("token-status").textContent = query ? count(found.length, "item") + more : "";
    byId("token-results").replaceChildren(...found.slice(0, SHOWN).map(itemButton));
  }

  /** Branches below a prefix, the fullest first; a branch is filled when it is opened. */
  function branches(items, length, all) {
    if (length > data.levels || items.length === 1) return [make("ul", "", ...items.slice(0, 200).map(itemButton))];
    const below = new Map();
    for (const item of items) {
      const code = data.codes[item * data.levels + length - 1];
      if (below.has(code)) below.get(code).push(item); else below.set(code, [item]);
    }
    const sorted = [...below].sort((a, b) => b[1].length - a[1].length);
    const drawn = sorted.slice(0, all ? sorted.length : BRANCHES).map(([code, members]) => branch(code, members, length));
    if (drawn.length < sorted.length) {
      const button = make("button", "", `Show all ${sorted.length} codes`);
      button.type = "button";
      button.addEventListener("click", () => button.parentElement.replaceChildren(...branches(items, length, true)));
      drawn.push(button);
    }
    return drawn;
  }

  function branch(code, members, length) {
    const summary = make("summary", "", make("span", "chip", String(code)), ` ${count(members.length, "item")} `);
    const shared = members.length === 1 ? titles[members[0]] : common(members);
    summary.append(make("span", "common", isolated(shared)));
    const details = make("details", "", summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(make("div", "", ...branches(members, length + 1)));
    });
    return details;
  }

  unpack().then(() => {
    let waiting;
    byId("token-search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(search, 100);
    });
    byId("token-tree").replaceChildren(...branches([...data.ids.keys()], 1));
    byId("explorer").dataset.ready = "true";
  }).catch(() => {
    byId("token-status").textContent = "This browser cannot unpack the items (DecompressionStream); a newer one can.";
  });
})();
