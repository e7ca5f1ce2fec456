const body = document.querySelector("tbody");
const heads = [...document.querySelectorAll("thead th")];
const collator = new Intl.Collator(undefined, { numeric: true });
function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.number === "" ? cell.dataset.text : Number(cell.dataset.number);
}
function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return collator.compare(one, other);
}
heads.forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const falls = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const rows = [...body.rows].sort((one, other) => compare(key(one, column), key(other, column)));
    body.append(...(falls ? rows.reverse() : rows));
  });
});
