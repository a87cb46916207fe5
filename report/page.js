"use strict";
// The list of users: filter, sort, show more. All rows are in the page; without this script all show.
(() => {
  const table = document.getElementById("users");
  if (!table) return;
  const STEP = 25;
  const body = table.tBodies[0];
  const byId = (id) => document.getElementById(id);
  const headers = [...table.tHead.rows[0].cells];
  const rows = [...body.rows].map((element) => ({
    element,
    risk: Number(element.dataset.risk),
    text: element.textContent.toLowerCase(),
    cells: [...element.cells].map((cell) => cell.textContent.trim()),
  }));
  let limit = STEP;

  const show = () => {
    const text = byId("filter-text").value.trim().toLowerCase();
    const level = byId("filter-level").value;
    const state = byId("filter-state").value;
    const risk = Number(byId("filter-risk").value) / 100;
    let found = 0;
    for (const row of rows) {
      const fits = row.text.includes(text) && (!level || row.cells[3] === level) &&
        (!state || row.cells[4] === state) && !(row.risk < risk);
      found += fits;
      row.element.hidden = !fits || found > limit;
    }
    const shown = Math.min(found, limit);
    byId("shown").textContent = found
      ? `${shown.toLocaleString("en")} of ${found.toLocaleString("en")} users shown` +
        (found < rows.length ? `, of ${rows.length.toLocaleString("en")} listed.` : ".")
      : "No user fits these filters.";
    byId("more").hidden = shown >= found;
  };

  const sort = (header) => {
    const column = headers.indexOf(header);
    const before = header.getAttribute("aria-sort");
    const falling = before ? before === "ascending" : "falling" in header.dataset;
    headers.forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const value = (row) => (header.dataset.key === "risk" ? row.risk : row.cells[column]);
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    rows.sort((a, b) => {
      const order = header.dataset.key === "risk" ? value(a) - value(b) : compare(value(a), value(b));
      return (falling ? -order : order) || compare(a.cells[0], b.cells[0]);
    });
    body.append(...rows.map((row) => row.element));
    show();
  };

  for (const header of headers.filter((each) => each.dataset.key)) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header));
    header.append(button);
  }
  const form = byId("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  const anew = () => {
    limit = STEP;
    show();
  };
  form.addEventListener("input", anew);
  form.addEventListener("reset", () => setTimeout(anew));
  byId("more-some").addEventListener("click", () => {
    limit += STEP;
    show();
  });
  byId("more-all").addEventListener("click", () => {
    limit = Infinity;
    show();
  });
  form.hidden = false;
  show();
})();
