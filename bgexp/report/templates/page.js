"use strict";
// Everything is readable without this: it adds sorting, searching, the wipe and the copy buttons.

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
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
      const value = (row) => {
        const cell = row.cells[column];
        return numbers ? parseFloat(cell.dataset.sort) : cell.textContent.trim();
      };
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!numbers) return (down ? -1 : 1) * x.localeCompare(y);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return down ? y - x : x - y;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}

for (const input of document.querySelectorAll("input[data-section]")) {
  const rows = document.querySelectorAll(`#${input.dataset.section} tbody tr`);
  input.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}

for (const panels of document.querySelectorAll(".panels")) {
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
}

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
