"use strict";
// Everything is readable without this: it adds sorting, searching, the rows and pictures beyond the
// first ones, the wipe and the copy buttons.

const compare = new Intl.Collator(undefined, { numeric: true }).compare;
const step = 100;  // rows that are drawn at a time
const fewest = 20;  // rows, from where on searching is worth a field

// A row is its cells as [text, sort key, bar, address], and its element once it is drawn.
const readRow = (element) => ({
  element,
  cells: [...element.cells].map((cell) => [cell.textContent.trim(), cell.dataset.sort]),
});

const drawRow = (cells, heads, meter) => {
  const row = document.createElement("tr");
  cells.forEach(([text, sort, bar, address], column) => {
    const cell = row.insertCell();
    cell.className = heads[column].className;
    cell.classList.toggle("short", text.length < 24);
    if (sort !== undefined) cell.dataset.sort = sort;
    let inside = cell;
    if (address) {
      inside = document.createElement("a");
      inside.setAttribute("href", address);
      cell.append(inside);
    }
    inside.append(text);
    if (typeof bar === "number") {
      cell.append(meter.cloneNode(true));
      cell.lastElementChild.firstElementChild.setAttribute("width", 100 * bar);
    }
  });
  return row;
};

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const box = table.parentElement;
  const heads = [...table.tHead.rows[0].cells];
  const meter = body.querySelector(".meter");
  const waiting = box.querySelector("script");
  const rows = [...body.rows].map(readRow);
  let drawn = rows.length;
  for (const cells of waiting ? JSON.parse(waiting.textContent) : []) rows.push({ cells });
  let found = rows;
  let words = [];

  const status = document.createElement("span");
  status.className = "soft";
  status.setAttribute("role", "status");
  const count = (n) => n.toLocaleString("en");
  const tell = () => {
    status.textContent = words.length ? `${count(found.length)} of ${count(rows.length)} rows` : `${count(rows.length)} rows`;
  };
  const drawMore = () => {
    const next = found.slice(drawn, drawn + step);
    drawn += next.length;
    body.append(...next.map((row) => (row.element ??= drawRow(row.cells, heads, meter))));
  };
  const redraw = () => {
    const shown = words.length ? rows.filter((row) => {
      row.text ??= row.cells.map(([text]) => text).join(" ").toLowerCase();
      return words.every((word) => row.text.includes(word));
    }) : rows;
    found = shown;
    drawn = 0;
    body.replaceChildren();
    drawMore();
    box.scrollTop = 0;
    tell();
  };
  box.addEventListener("scroll", () => {
    if (drawn < found.length && box.scrollTop + 2 * box.clientHeight > box.scrollHeight) drawMore();
  });

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("right");
      const before = head.getAttribute("aria-sort");
      const down = before === null ? numbers : before === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const row of rows) {
        const [text, sort] = row.cells[column];
        row.key = numbers ? parseFloat(sort) : text;
      }
      const sign = down ? -1 : 1;
      rows.sort(({ key: x }, { key: y }) => {
        if (!numbers) return sign * compare(x, y);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return sign * (x - y);
      });
      redraw();
    });
  });

  if (rows.length >= fewest) {
    const search = document.createElement("p");
    search.className = "search";
    const input = document.createElement("input");
    Object.assign(input, { type: "search", placeholder: "Search this table" });
    input.setAttribute("aria-label", `Search: ${table.caption.textContent}`);
    input.addEventListener("input", () => {
      words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      redraw();
    });
    search.append(input, status);
    box.before(search);
    tell();
  }
}

// What is said of the same thing in several places: pointing at one shows the others.
for (const link of document.querySelectorAll("[data-same]")) {
  const all = [document.getElementById(link.dataset.same), ...document.querySelectorAll(`[data-same="${link.dataset.same}"]`)];
  const show = (on) => all.forEach((place) => place?.classList.toggle("same", on));
  link.addEventListener("pointerenter", () => show(true));
  link.addEventListener("pointerleave", () => show(false));
}

const addWipe = (panels) => {
  const frame = panels.querySelector(".frame");
  const over = panels.querySelector(".cutout img").cloneNode();
  over.className = "over";
  over.alt = "";
  const edge = document.createElement("div");
  edge.className = "edge";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: 100, value: 50 });
  const name = panels.closest("article").querySelector("h4").textContent;
  input.setAttribute("aria-label", `Wipe between original and cut-out of ${name}`);
  const show = () => {
    frame.style.setProperty("--at", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${input.value} % original`);
  };
  input.addEventListener("input", show);
  show();
  frame.classList.add("wipe");
  frame.append(over, edge, input);
  frame.nextElementSibling.textContent = "original | cut-out";
};
document.querySelectorAll(".panels").forEach(addWipe);

// Pictures beyond the first ones come as one scrolls to the line below them, or follows a link.
const galleries = [...document.querySelectorAll("template")].map((template) => {
  const line = template.nextElementSibling;
  const tell = () => {
    const left = template.content.childElementCount;
    line.textContent = `and ${left} more`;
    line.hidden = left === 0;
  };
  const load = (n) => {
    const next = [...template.content.children].slice(0, n);
    template.before(...next);
    next.forEach((article) => addWipe(article.querySelector(".panels")));
    tell();
  };
  const watcher = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    load(3);
    watcher.unobserve(line);  // so that it is told again where the line is still near
    if (!line.hidden) watcher.observe(line);
  }, { rootMargin: "1000px" });
  watcher.observe(line);
  tell();
  return { template, load };
});
const follow = () => {
  const id = decodeURIComponent(location.hash.slice(1));
  const gallery = id && galleries.find(({ template }) => template.content.getElementById(id));
  if (!gallery) return;
  gallery.load(Infinity);
  document.getElementById(id).scrollIntoView();
};
addEventListener("hashchange", follow);
follow();

for (const code of document.querySelectorAll(".try code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  code.after(button);
}
