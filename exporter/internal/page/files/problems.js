import { actor, ago, clean, draw, el, packets, plural, word } from './dom.js';

/** few is how many rows a table has before its reader asks for all. */
const few = 10;

/** copied puts text into the clipboard, also without TLS, where a browser has no clipboard to offer. */
async function copied(text, shown) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* it is not allowed: as without it */ }
  }
  getSelection().selectAllChildren(shown);
  return document.execCommand('copy');
}

/** commands shows what to type, with a button that copies all of it. */
function commands(title, list, key) {
  if (!list.length) return [];
  const text = list.map(a => clean(a.command)).join('\n');
  const shown = el('pre', { tabindex: 0, role: 'group', 'aria-label': title });
  shown.append(text); // not by el: its lines are ours
  const said = el('span', { role: 'status' });
  const button = el('button', { type: 'button', 'data-key': `copy ${key}` }, `Copy ${plural(list.length, 'command')}`);
  button.addEventListener('click', async () => {
    said.textContent = await copied(text, shown) ? 'Copied' : 'Selected: press Ctrl+C';
  });
  const why = [...new Set(list.map(a => a.why).filter(Boolean))].map(w => el('p', {}, w));
  return [el('h4', {}, title), ...why, shown, el('p', {}, button, ' ', said)];
}

/** advice shows the commands that mend single objects, then those that do more. */
export function advice(lists, node, key) {
  const all = [...new Map(lists.flat().filter(Boolean).map(a => [a.command, a])).values()];
  const [single, wider] = [all.filter(a => !a.why), all.filter(a => a.why)];
  return [
    commands(`To mend, as root on ${node}`, single, `${key} single`),
    commands(single.length ? 'Or all at once' : 'To mend', wider, `${key} wider`),
  ].flat();
}

export function term(name, ...what) {
  return el('div', {}, el('dt', {}, name), el('dd', {}, ...what));
}

/** meaning is the title of a word and its sentence. */
export function meaning(kind, name, suffix = '') {
  const w = word(kind, name);
  return [el('strong', {}, w.title + suffix), ' ', el('span', {}, w.meaning)];
}

/** alike groups leases that are broken in the same way: one event breaks thousands. */
function alike(problems) {
  const groups = new Map();
  for (const p of problems) {
    const key = JSON.stringify([p.state, p.effect, p.partial, p.cause, p.actor]);
    groups.set(key, [...(groups.get(key) ?? []), p]);
  }
  return [...groups];
}

function table(group) {
  const reason = group.some(p => p.reason);
  const head = ['Peer', 'Lease', 'Packets go now', ...(reason ? ['Why'] : []), 'Since'];
  const rows = group.map((p, i) => el('tr', { hidden: i >= few && '' },
    el('th', { scope: 'row' }, p.peer),
    el('td', { 'data-head': 'Lease' }, p.lease ?? '-'),
    el('td', { 'data-head': 'Packets go now' }, packets(p)),
    reason ? el('td', { 'data-head': 'Why' }, p.reason ?? '-') : undefined,
    el('td', { 'data-head': 'Since' }, ago(p.since, ''))));
  return el('table', {},
    el('thead', {}, el('tr', {}, head.map(h => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, rows));
}

function card([key, group], node) {
  const p = group[0];
  const rows = table(group);
  const more = el('button', { type: 'button', 'data-key': `more ${key}` }, `Show ${group.length - few} more`);
  more.addEventListener('click', () => {
    for (const row of rows.querySelectorAll('tr[hidden]')) row.hidden = false;
    more.remove();
  });
  const unsure = !word('states', p.state).bad;
  return el('article', { class: unsure ? 'unsure' : 'bad' },
    el('h3', {}, `${plural(group.length, 'lease')}: ${word('states', p.state).title}`),
    el('dl', {},
      term('State', ...meaning('states', p.state)),
      term('Effect', ...meaning('effects', p.effect, p.partial ? ' (a part of the subnet)' : '')),
      p.cause ? term('Cause', ...meaning('causes', p.cause)) : undefined,
      p.actor ? term('By', actor(p.actor)) : undefined),
    rows, group.length > few ? more : undefined,
    ...advice(group.map(g => g.advice), node, key));
}

function fault(p, node) {
  const w = word('nodeProblems', p.problem);
  const where = [p.device, p.family].filter(Boolean).join(', ');
  return el('article', { class: w.info ? 'info' : 'bad' },
    el('h3', {}, `Node: ${w.title}${w.info ? ' (information)' : ''}`),
    el('p', {}, w.meaning),
    el('dl', {}, term('What', p.message), where ? term('Where', where) : undefined, term('Since', ago(p.since))),
    ...advice([p.advice], node, `${p.problem} ${where}`));
}

/** problems are those of the node itself, then its leases, worst first. */
export function problems(status) {
  const { node, nodeProblems, problems: list, problemsTotal } = status;
  draw('problem-list', [node, nodeProblems, list, problemsTotal], () => {
    const faults = nodeProblems.filter(p => !word('nodeProblems', p.problem).info);
    const info = nodeProblems.filter(p => word('nodeProblems', p.problem).info);
    const all = [...faults.map(p => fault(p, node)), ...alike(list).map(g => card(g, node)), ...info.map(p => fault(p, node))];
    if (problemsTotal > list.length) {
      all.unshift(el('p', {}, `The ${list.length} worst of ${plural(problemsTotal, 'lease')}; the grid below has all.`));
    }
    return all.length ? all : el('p', {}, 'None.');
  });
}
