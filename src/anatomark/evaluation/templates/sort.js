// A click on a heading sorts its table: numbers (data-sort, or the text) largest first, words from A; again, the other way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, k) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const text = row => row.cells[k].textContent.trim();
      const value = row => parseFloat(row.cells[k].dataset.sort ?? text(row));
      const rows = [...body.rows], words = head.classList.contains("text");
      const down = head.ariaSort ? head.ariaSort === "ascending" : !words;
      const sign = down ? -1 : 1;
      rows.sort((a, b) => {
        if (words) return sign * text(a).localeCompare(text(b), undefined, {numeric: true});
        const x = value(a), y = value(b);
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y);  // what has no value stays at the end
      });
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
