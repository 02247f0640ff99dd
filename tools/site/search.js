// Search without a server: every word has to occur; titles count more than text.
const form = document.querySelector('form.search');
const box = form.querySelector('input');
const list = form.querySelector('ul');
const lower = text => text.toLowerCase();
const entries = SEARCH.map(e => ({...e, title: lower(`${e.page} ${e.part}`), body: lower(e.text)}));

function score(entry, words) {
  let total = 0;
  for (const word of words) {
    const inTitle = entry.title.includes(word);
    const inBody = entry.body.includes(word);
    if (!inTitle && !inBody) return 0;
    total += (inTitle ? 10 : 0) + (inBody ? 1 : 0);
    if (entry.title.split(/\W+/).includes(word)) total += 5;
  }
  return total + (entry.part ? 0 : 1);
}

function excerpt(entry, word) {
  const at = Math.max(0, entry.body.indexOf(word) - 40);
  return entry.text.slice(at, at + 140);
}

function show() {
  const words = lower(box.value).split(/\s+/).filter(Boolean);
  const found = words.length === 0 ? [] : entries
    .map(entry => ({entry, points: score(entry, words)}))
    .filter(hit => hit.points > 0)
    .sort((a, b) => b.points - a.points)
    .slice(0, 12);
  list.replaceChildren(...found.map(({entry}) => {
    const item = document.createElement('li');
    const link = document.createElement('a');
    link.href = form.dataset.up + entry.at;
    link.textContent = entry.part ? `${entry.page}: ${entry.part}` : entry.page;
    const text = document.createElement('small');
    text.textContent = excerpt(entry, words[0]);
    link.append(text);
    item.append(link);
    return item;
  }));
  if (words.length > 0 && found.length === 0) {
    const item = document.createElement('li');
    item.textContent = `Nothing is found for “${box.value}”.`;
    item.style.padding = '6px 12px';
    list.append(item);
  }
}

box.addEventListener('input', show);
form.addEventListener('submit', event => {
  event.preventDefault();
  const first = list.querySelector('a');
  if (first) location.href = first.href;
});
form.addEventListener('keydown', event => {
  const links = [box, ...list.querySelectorAll('a')];
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  if (event.key === 'Escape') list.replaceChildren();
  if (!step) return;
  event.preventDefault();
  const next = links.indexOf(document.activeElement) + step;
  links[Math.max(0, Math.min(links.length - 1, next))].focus();
});
document.addEventListener('keydown', event => {
  const typing = event.target.closest('input, textarea, select');
  if (event.key === '/' && !typing) {
    event.preventDefault();
    box.focus();
  }
});
document.addEventListener('click', event => {
  if (!form.contains(event.target)) list.replaceChildren();
});
if (matchMedia('(max-width: 900px)').matches) document.querySelector('.menu').open = false;
