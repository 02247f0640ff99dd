// Filters: the address is the state. The part that follows a filter is fetched and replaced.
const ask = async (box, address, form) => {
  const url = new URL(address, location.href), part = new URL(url);
  part.searchParams.set("part", "yes");
  box.setAttribute("aria-busy", "true");
  try {
    const r = await fetch(part, {headers: {Accept: "text/html, application/problem+json"}});
    if (!r.ok) { location.assign(url); return; }   // the page says what is wrong
    box.innerHTML = await r.text();
    history.replaceState(null, "", url.pathname + url.search);
    const says = document.getElementById(box.dataset.says), caption = box.querySelector("caption");
    if (says) says.textContent = caption?.textContent ?? "nothing fits this filter";
    for (const x of form?.elements ?? []) if (x.name) { const v = url.searchParams.get(x.name); x.value = v ?? (x.name === "order" ? "desc" : ""); }
  } catch { document.getElementById(box.dataset.says).textContent = "the server does not answer now"; }
  finally { box.removeAttribute("aria-busy"); }
};
const addressOf = form => {
  const q = new URLSearchParams();
  for (const [k, v] of new FormData(form)) if (v.trim() && !(k === "order" && v === "desc")) q.set(k, v.trim());
  return form.getAttribute("action") + (q.size ? `?${q}` : "");
};
let waiting;
const follow = (form, ms) => { clearTimeout(waiting); waiting = setTimeout(() => ask(document.getElementById(form.dataset.asks), addressOf(form)), ms); };
addEventListener("input", e => { const form = e.target.form; if (form?.dataset.asks && e.target.name && e.target.name !== "at") follow(form, e.target.type === "search" ? 200 : 0); });
addEventListener("change", e => { if (e.target.name === "at" && e.target.form?.dataset.asks) location.assign(addressOf(e.target.form)); });
addEventListener("submit", e => { if (e.target.dataset.asks) { e.preventDefault(); location.assign(addressOf(e.target)); } });
addEventListener("click", e => {
  const a = e.target.closest?.("a[data-again]");
  if (!a || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  const box = a.closest("[data-says]"), form = document.querySelector(`form[data-asks="${box.id}"]`), at = [...box.querySelectorAll("a[data-again]")].indexOf(a);
  ask(box, a.href, form).then(() => box.querySelectorAll("a[data-again]")[at]?.focus());
});

// Whole reasons, or one line each; the browser remembers.
const showWhole = () => document.querySelectorAll("[data-whole]").forEach(x => { x.checked = localStorage.getItem("whole") === "yes"; document.getElementById(x.dataset.whole).classList.toggle("whole", x.checked); });
addEventListener("DOMContentLoaded", showWhole);
addEventListener("change", e => { if ("whole" in (e.target.dataset ?? {})) { localStorage.setItem("whole", e.target.checked ? "yes" : "no"); showWhole(); } });

// Arrows move between rows: the link of the row above or below.
addEventListener("keydown", e => {
  const row = e.target.closest?.("table.lines tbody tr"), step = {ArrowDown: 1, ArrowUp: -1}[e.key];
  if (!row || !step || e.target.tagName === "SELECT") return;
  const next = row.parentElement.rows[row.sectionRowIndex + step], kind = e.target.type === "checkbox" ? "input" : "a";
  if (next) { e.preventDefault(); next.querySelector(kind)?.focus(); }
});

// Alerts: what people say of several at once.
const chosen = form => [...form.querySelectorAll("[name=alert]:checked, input[type=hidden][name=alert]")].map(x => Number(x.value));
const countChosen = form => { const n = chosen(form).length, out = form.querySelector("[data-chosen]"); if (out) out.textContent = n ? `${n} chosen` : "none chosen"; };
addEventListener("change", e => {
  const form = e.target.closest?.("form[data-acts]");
  if (!form) return;
  if ("all" in e.target.dataset) form.querySelectorAll("[name=alert]").forEach(x => { x.checked = e.target.checked; });
  countChosen(form);
});
addEventListener("submit", async e => {
  const form = e.target;
  if (!("acts" in form.dataset)) return;
  e.preventDefault();
  const ids = chosen(form), out = form.querySelector("[role=status]"), act = e.submitter?.dataset ?? {};
  if (!ids.length) { out.textContent = "choose at least one alert"; return; }
  const token = form.querySelector("[name=token]"), by = form.querySelector("[name=by]").value.trim() || "page";
  const body = {ids, by};
  if (act.says) body.says = act.says;
  if (act.snooze) body.snooze_hours = Number(act.snooze);
  if ("close" in act) body.close = true;
  const r = await fetch("/alerts/acts", {method: "POST", headers: {Authorization: `Bearer ${token.value.trim()}`, "Content-Type": "application/json"}, body: JSON.stringify(body)});
  if (r.ok) { sessionStorage.setItem("token", token.value.trim()); sessionStorage.setItem("by", by); location.reload(); return; }
  if (r.status === 401 || r.status === 403) token.closest("label").hidden = false;
  out.textContent = (await r.json()).detail;
});
addEventListener("DOMContentLoaded", () => document.querySelectorAll("form[data-acts]").forEach(form => { form.querySelector("[name=by]").value = sessionStorage.getItem("by") ?? ""; countChosen(form); }));
