// A click on a heading sorts by its column, another click reverses: numbers as numbers, empty cells last.
document.querySelectorAll("table.sortable").forEach(table => {
  const body = table.tBodies[0];
  const heads = table.querySelectorAll("th");
  heads.forEach((head, i) => head.addEventListener("click", () => {
    const order = head.dataset.order === "1" ? -1 : 1;
    heads.forEach(other => delete other.dataset.order);
    head.dataset.order = order;
    const compare = (a, b) => {
      const x = a.cells[i].textContent, y = b.cells[i].textContent;
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const m = parseFloat(x), n = parseFloat(y);
      return order * (head.className === "number" && !isNaN(m - n) ? m - n : x.localeCompare(y));
    };
    [...body.rows].sort(compare).forEach(row => body.append(row));
  }));
});
// A wide table shows on which side there is more of it.
document.querySelectorAll(".scroll").forEach(scroll => {
  const show = () => {
    scroll.parentElement.classList.toggle("more", scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 1);
    scroll.parentElement.classList.toggle("moved", scroll.scrollLeft > 0);
  };
  scroll.addEventListener("scroll", show, {passive: true});
  addEventListener("resize", show);
  show();
});
// On paper nothing can be opened; lists of packages stay closed.
addEventListener("beforeprint", () => document.querySelectorAll("details:not(.long)").forEach(one => one.open = true));
