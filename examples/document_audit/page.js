"use strict";
(() => {
  const root = document.documentElement;

  const theme = document.getElementById("theme");
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  label();

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent : Number(cell.dataset.key);
  };

  const sortBy = (table, column, falling) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, place) => ({ row, place, key: keyOf(row, column) }));
    const order = new Intl.Collator("en", { numeric: true });
    rows.sort((a, b) => {
      const difference = typeof a.key === "number" && typeof b.key === "number"
        ? a.key - b.key
        : order.compare(a.key, b.key);
      return (falling ? -difference : difference) || a.place - b.place;
    });
    body.append(...rows.map(({ row }) => row));
  };

  const makeSortable = (table) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const first = table.tBodies[0].rows[0];
      const figures = first && first.cells[column].classList.contains("number");
      if (figures) head.classList.add("number");
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const falling = before ? before === "ascending" : Boolean(figures);
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        sortBy(table, column, falling);
      });
    });
  };

  const makeFilterable = (table, title) => {
    const tools = document.createElement("div");
    tools.className = "tools";
    const shown = document.createElement("output");
    const input = document.createElement("input");
    input.type = "search";
    input.setAttribute("aria-label", `Filter: ${title.querySelector("h2").textContent}`);
    const rows = Array.from(table.tBodies[0].rows);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, place) => {
        const fits = words.every((word) => texts[place].includes(word));
        row.hidden = !fits;
        count += fits;
      });
      shown.textContent = words.length ? `${count} of ${rows.length}` : "";
    });
    const label = document.createElement("label");
    label.append("Filter", input);
    tools.append(shown, label);
    title.append(tools);
    return input;
  };

  const makeChips = (chips, input) => {
    const buttons = chips.map((chip) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(...chip.childNodes);
      chip.append(button);
      button.addEventListener("click", () => {
        const wanted = button.getAttribute("aria-pressed") === "true" ? "" : chip.dataset.filter;
        input.value = wanted;
        input.dispatchEvent(new Event("input"));
      });
      return button;
    });
    input.addEventListener("input", () => {
      buttons.forEach((button, place) => {
        button.setAttribute("aria-pressed", String(chips[place].dataset.filter === input.value));
      });
    });
  };

  for (const section of document.querySelectorAll("section.panel")) {
    const table = section.querySelector("table");
    if (!table) continue;
    makeSortable(table);
    if (table.tBodies[0].rows.length < 6) continue;
    const input = makeFilterable(table, section.querySelector(".title"));
    makeChips(Array.from(section.querySelectorAll("[data-filter]")), input);
  }
})();
