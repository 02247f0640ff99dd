// Figures: drawn from the JSON beside them once Plotly is there.
addEventListener("DOMContentLoaded", () => document.querySelectorAll("script[data-figure]").forEach(s => {
  const f = JSON.parse(s.textContent);
  Plotly.newPlot(s.dataset.figure, f.data, f.layout, {responsive: true, displaylogo: false});
}));

// Something has happened: reload; the browser keeps the place. Never while somebody is typing.
setInterval(async () => {
  if (document.hidden || /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName)) return;
  try {
    const h = await (await fetch("/health")).json();
    if (document.body.dataset.state !== h.pulse) location.reload();
  } catch { /* the server is away for a moment; the next look will tell */ }
}, 10000);

// Tables: a heading that is a button sorts, and a search box filters.
addEventListener("click", e => {
  const b = e.target.closest("th button");
  if (!b) return;
  const th = b.parentElement, i = th.cellIndex, up = th.getAttribute("aria-sort") === "descending", body = th.closest("table").tBodies[0];
  const key = r => { const v = r.cells[i].dataset.value ?? r.cells[i].innerText, n = parseFloat(v); return isNaN(n) ? v.toLowerCase() : n; };
  th.parentElement.querySelectorAll("th").forEach(x => x.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rank = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? 1 : -1;   // what is no number comes first
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * rank(key(a), key(b))));
});
addEventListener("input", e => {
  const table = e.target.dataset?.filter && document.getElementById(e.target.dataset.filter);
  if (table) for (const r of table.tBodies[0].rows) r.hidden = !r.innerText.toLowerCase().includes(e.target.value.toLowerCase());
});

// Decisions: the token comes with the address (#token=…) and stays in this tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) { sessionStorage.setItem("token", given); history.replaceState(null, "", location.pathname + location.search); }
addEventListener("DOMContentLoaded", () => document.querySelectorAll("[name=token]").forEach(t => { t.value = sessionStorage.getItem("token") ?? ""; t.closest("label").hidden = !!t.value; }));
addEventListener("submit", async e => {
  const form = e.target;
  if (!form.dataset.decide) return;
  e.preventDefault();
  const f = new FormData(form, e.submitter), out = form.querySelector("[role=status]"), token = f.get("token").trim();
  sessionStorage.setItem("token", token);
  const send = async (path, body) => {
    const r = await fetch(path, {method: "POST", headers: {Authorization: `Bearer ${token}`, "Content-Type": "application/json"}, body});
    if (r.ok) return;
    if (r.status === 401) { sessionStorage.removeItem("token"); form.querySelector("[name=token]").closest("label").hidden = false; }
    throw (await r.json()).detail;
  };
  const q = new URLSearchParams({version: form.dataset.decide, by: f.get("by"), reason: f.get("reason")});
  try {
    const reject = f.get("decision") === "reject";
    if (reject || !form.dataset.approved) await send(`/${reject ? "reject" : "approve"}?${q}`);
    if (!reject) await send(`/models/assets/${form.dataset.model}/promote`, JSON.stringify({version: form.dataset.decide, triggered_by: f.get("by"), reason: f.get("reason")}));
    location.reload();
  } catch (detail) { out.textContent = detail; out.className = "failed"; }
});
