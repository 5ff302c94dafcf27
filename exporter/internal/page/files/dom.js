// Everything that is written into the page goes through here, as text: names of
// nodes, devices and processes are foreign.

/** words are the vocabulary of this exporter, by kind and name. */
const words = JSON.parse(document.getElementById('words').textContent);

/** word finds a word; one that is not known is shown as it is, and is bad. */
export function word(kind, name) {
  const known = Object.hasOwn(words[kind], name) && words[kind][name];
  return known || { title: name, meaning: 'A word that this page does not know.', letter: '!', bad: true };
}

/** clean replaces characters that could hide or turn round what is shown. */
export function clean(text) {
  return String(text).replace(/[\t\r\n]/g, ' ')
    .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd');
}

/** roles keep a table a table where a narrow screen shows its rows as blocks. */
const roles = { table: 'table', thead: 'rowgroup', tbody: 'rowgroup', tr: 'row', td: 'cell' };

/** el makes an element with attributes and children, which are elements or text. */
export function el(name, attributes, ...children) {
  const element = document.createElement(name);
  const role = roles[name] ?? (attributes?.scope && { row: 'rowheader', col: 'columnheader' }[attributes.scope]);
  if (role) element.setAttribute('role', role);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) element.setAttribute(key, clean(value));
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== '') element.append(child instanceof Node ? child : clean(child));
  }
  return element;
}

export function plural(n, noun) {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

/** natural orders node-2 before node-10. */
export const natural = new Intl.Collator('en', { numeric: true }).compare;

/** A clock that is the node's, as far as its answers tell. */
export const clock = {
  ahead: 0,
  now: () => Date.now() + clock.ahead,
};

/** age prints a duration as kubectl and the CLI do. */
export function age(milliseconds) {
  const s = Math.max(0, Math.floor(milliseconds / 1000));
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  const two = (n, unit, rest, small) => `${n}${unit}${rest ? rest + small : ''}`;
  if (s < 120) return `${s}s`;
  if (m < 10) return two(m, 'm', s % 60, 's');
  if (m < 180) return `${m}m`;
  if (h < 8) return two(h, 'h', m % 60, 'm');
  if (h < 48) return `${h}h`;
  if (d < 8) return two(d, 'd', h % 24, 'h');
  return `${d}d`;
}

/** ago is an age that grows: see grow. */
export function ago(time, after = ' ago') {
  if (!time) return '-';
  return el('time', { datetime: time, title: time, 'data-after': after }, age(clock.now() - Date.parse(time)) + after);
}

/** grow brings every age up to date. */
export function grow() {
  for (const t of document.querySelectorAll('time[data-after]')) {
    const text = age(clock.now() - Date.parse(t.dateTime)) + t.dataset.after;
    if (t.textContent !== text) t.textContent = text;
  }
}

const drawn = new Map();

/**
 * draw fills an element if what it is made of is not what it was, so that
 * nothing moves below a hand or a screen reader. What had the focus keeps it.
 */
export function draw(id, made, make) {
  const key = JSON.stringify(made);
  if (drawn.get(id) === key) return;
  const box = document.getElementById(id);
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...box.querySelectorAll('details[open]')].map(d => d.dataset.key));
  box.replaceChildren(...[make()].flat());
  drawn.set(id, key);
  for (const d of box.querySelectorAll('details')) d.open = open.has(d.dataset.key);
  if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** packets is the kernel's answer without the address that was asked for, which is one of the lease's. */
export const packets = l => l.lookup?.replace(/^[0-9a-f.:]+ /, '') || '-';

/** actor is who made a change, in words. */
export function actor(a) {
  if (!a) return 'not known';
  if (a.kind === 'kernel') return 'the kernel';
  if (a.pid) return a.comm ? `${a.comm} (pid ${a.pid})` : `pid ${a.pid}`;
  if (a.portID) return `${a.kind}, netlink port ${a.portID}`;
  return a.kind === 'unknown' ? 'not known' : a.kind;
}
