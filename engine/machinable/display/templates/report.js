// A page that is loaded again, as those of --watch are, keeps what was opened and sorted. Counts may have changed.
const place = `report ${location.pathname}`;
let kept = {};
// Without a session storage, which people may refuse, the page has no memory.
try { kept = JSON.parse(sessionStorage.getItem(place)) || {}; } catch { }
const keep = (key, value) => {
  kept[key] = value;
  try { sessionStorage.setItem(place, JSON.stringify(kept)); } catch { }
};
document.querySelectorAll("details").forEach(one => {
  const summary = one.querySelector("summary");
  const key = `opened ${summary.textContent.replace(/\d+/g, "")}`;
  if (key in kept) one.open = kept[key];
  summary.addEventListener("click", () => keep(key, !one.open));
});
// A click on a heading sorts by its column, another click reverses: numbers as numbers, empty cells last.
document.querySelectorAll("table.sortable").forEach((table, number) => {
  const body = table.tBodies[0];
  const heads = [...table.querySelectorAll("th")];
  const key = `sorted ${number}`;
  const sort = (i, order) => {
    heads.forEach(other => delete other.dataset.order);
    heads[i].dataset.order = order;
    const compare = (a, b) => {
      const x = a.cells[i].textContent, y = b.cells[i].textContent;
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const m = parseFloat(x), n = parseFloat(y);
      return order * (heads[i].className === "number" && !isNaN(m - n) ? m - n : x.localeCompare(y));
    };
    [...body.rows].sort(compare).forEach(row => body.append(row));
  };
  heads.forEach((head, i) => head.addEventListener("click", () => {
    const order = head.dataset.order === "1" ? -1 : 1;
    sort(i, order);
    keep(key, [head.textContent, order]);
  }));
  const [name, order] = kept[key] || [];
  const i = heads.findIndex(head => head.textContent === name);
  if (i >= 0) sort(i, order);
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
