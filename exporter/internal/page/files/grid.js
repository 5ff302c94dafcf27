import { actor, ago, draw, el, natural, packets, plural, word } from './dom.js';
import { advice, meaning, term } from './problems.js';

const at = id => document.getElementById(id);
const [grid, state, text] = [at('grid'), at('state'), at('text')];

let leases = []; // as they are sorted in the grid
let node = '';
let selected; // key of the lease whose details are shown
let current; // key of the cell that the Tab key reaches
const cells = new Map(); // by key

const keyOf = l => `${l.peer} ${l.family} ${l.lease ?? ''}`;

function kind(l) {
  const w = word('states', l.state);
  return w.bad ? 'bad' : w.healthy && l.state !== 'ok' ? 'info' : w.healthy ? 'good' : 'unsure';
}

const rank = { bad: 0, unsure: 1, info: 2, good: 3 };

/** show takes all leases of a node. */
export function show(name, items) {
  node = name;
  leases = items.map(l => ({ ...l, kind: kind(l), key: keyOf(l) }))
    .sort((a, b) => rank[a.kind] - rank[b.kind] || natural(a.peer, b.peer) || natural(a.key, b.key));
  const known = new Set(leases.map(l => l.key));
  for (const key of cells.keys()) {
    if (!known.has(key)) cells.delete(key);
  }
  for (const l of leases) cell(l);
  choices();
  fill();
  details();
}

/** unread says why the grid is not what it should be. */
export function unread(why) {
  at('count').textContent = `Not up to date, the leases cannot be read: ${why}`;
}

/** cell makes the cell of a lease, or brings it up to date. */
function cell(l) {
  const w = word('states', l.state);
  let c = cells.get(l.key);
  if (!c) {
    c = el('div', { role: 'option', tabindex: -1, 'aria-selected': false });
    c.dataset.key = l.key;
    cells.set(l.key, c);
  }
  const effect = l.state === 'ok' ? '' : `, ${word('effects', l.effect).title.toLowerCase()}`;
  const name = `${l.peer} ${l.lease ?? ''}: ${w.title}${effect}`;
  if (c.title === name && c.className === l.kind) return;
  c.className = l.kind;
  c.textContent = w.letter;
  c.title = name;
  c.setAttribute('aria-label', name);
}

/** choices are the states that leases have now. */
function choices() {
  const count = new Map();
  for (const l of leases) count.set(l.state, (count.get(l.state) ?? 0) + 1);
  const states = [...count].sort(([a], [b]) => (a === 'ok') - (b === 'ok') || natural(a, b));
  if (state.value && !['', 'not ok'].includes(state.value) && !count.has(state.value)) states.unshift([state.value, 0]);
  const notOK = leases.length - (count.get('ok') ?? 0);
  const chosen = state.value;
  draw('state', states, () => [
    el('option', { value: '' }, `all (${leases.length})`), el('option', { value: 'not ok' }, `not ok (${notOK})`),
    ...states.map(([name, n]) => el('option', { value: name }, `${name} (${n})`)),
  ]);
  state.value = chosen;
  draw('legend', [...count.keys()], () => states.filter(([, n]) => n).map(([name]) => {
    const w = word('states', name);
    return el('li', {}, el('span', { class: kind({ state: name }), 'aria-hidden': 'true' }, w.letter), ` ${w.title}`);
  }));
}

function matches(l, words) {
  if (state.value === 'not ok' ? l.state === 'ok' : state.value && l.state !== state.value) return false;
  const all = `${l.peer} ${l.lease ?? ''} ${l.publicIP ?? ''}`.toLowerCase();
  return words.every(w => all.includes(w));
}

/** fill puts the cells that match into the grid. */
function fill() {
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = leases.filter(l => matches(l, words)).map(l => cells.get(l.key));
  if (shown.length !== grid.children.length || shown.some((c, i) => c !== grid.children[i])) {
    const had = grid.contains(document.activeElement);
    grid.replaceChildren(...shown);
    if (had) (grid.contains(cells.get(current)) ? cells.get(current) : grid.firstElementChild ?? text).focus();
  }
  reach(grid.contains(cells.get(current)) ? cells.get(current) : shown[0]);
  const said = shown.length === leases.length ? `${plural(leases.length, 'lease')}` : `${shown.length.toLocaleString('en')} of ${plural(leases.length, 'lease')}`;
  if (at('count').textContent !== said) at('count').textContent = said;
}

/** reach makes one cell the one that the Tab key comes to. */
function reach(c) {
  cells.get(current)?.setAttribute('tabindex', -1);
  current = c?.dataset.key;
  c?.setAttribute('tabindex', 0);
}

function details() {
  const l = leases.find(one => one.key === selected);
  draw('lease', [selected, l], () => {
    if (!l) return selected ? el('p', {}, 'The selected lease is gone.') : el('p', {}, 'Select a lease to see what it needs.');
    const list = lines => lines?.length ? el('ul', {}, lines.map(line => el('li', {}, el('code', {}, line)))) : '-';
    return [el('h3', {}, `${l.peer} ${l.lease ?? ''}`), el('dl', {},
      term('State', ...meaning('states', l.state)), term('Effect', ...meaning('effects', l.effect)),
      l.reason ? term('Why', l.reason) : undefined,
      l.cause ? term('Cause', ...meaning('causes', l.cause)) : undefined, l.actor ? term('By', actor(l.actor)) : undefined,
      l.since ? term('Since', ago(l.since)) : undefined,
      term('Public IP', l.publicIP ?? '-'), term('Packets go now', packets(l)),
      l.expected ? term('Expected', list(l.expected)) : undefined, l.actual ? term('There', list(l.actual)) : undefined,
      term('Checked', l.checked?.join(', ') || '-'), term('Not checked', l.unchecked?.join(', ') || '-'),
    ), ...advice([l.advice], node, l.key)];
  });
}

function select(c) {
  cells.get(selected)?.setAttribute('aria-selected', false);
  selected = c.dataset.key;
  c.setAttribute('aria-selected', true);
  reach(c);
  details();
}

/** columns is how many cells a row of the grid has. */
function columns() {
  const all = [...grid.children];
  const second = all.findIndex(c => c.offsetTop > all[0].offsetTop);
  return second < 0 ? all.length : second;
}

grid.addEventListener('keydown', event => {
  const all = [...grid.children];
  const i = all.indexOf(document.activeElement);
  if (i < 0) return;
  if (event.key === 'Enter' || event.key === ' ') {
    event.preventDefault();
    select(all[i]);
    return;
  }
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns(), Home: -i, End: all.length }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = all[Math.min(Math.max(i + step, 0), all.length - 1)];
  reach(next);
  next.focus();
});
grid.addEventListener('click', event => {
  if (event.target.role === 'option') select(event.target);
});
state.addEventListener('change', fill);
text.addEventListener('input', fill);
