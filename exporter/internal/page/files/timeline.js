import { actor, age, ago, draw, el, plural, word } from './dom.js';

/** most is how many entries are shown, kept how many events are held. */
const [most, kept] = [50, 1000];

let events = []; // oldest first
let gap = false;

/** last is the id of the last event that was told, undefined if none was. */
export let last;

/** add takes events, each once. */
export function add(list, lost, id) {
  const news = list.filter(e => e.type !== 'gap' && !(e.id <= last));
  events = [...events, ...news].slice(-kept);
  gap ||= lost || list.some(e => e.type === 'gap');
  last = Math.max(last ?? 0, id);
}

/** quiet events break nothing by themselves; an incident tells of those around it. */
const quiet = /^(link|address|lease)_|^device_recreated$|^own_lease_changed$/;

/** entries are incidents as they were told last, and what else is worth a line. */
function entries(open) {
  const byID = new Map();
  for (const e of events) {
    if (e.incident) byID.set(e.incident.id, { time: e.incident.start, incident: e.incident });
    else if (!quiet.test(e.type)) byID.set(`event ${e.id}`, { time: e.time, event: e });
  }
  for (const i of open) byID.set(i.id, { time: i.start, incident: i });
  return [...byID.values()].sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
}

/** change is one thing that happened around an incident. */
function change(c) {
  const what = [c.device, c.peer, c.object].filter(Boolean).join(' ');
  const title = (c.count ? `${c.count} times ` : '') + word('events', c.type).title.toLowerCase();
  return el('li', {}, ago(c.time), ` ${what ? `${what}: ` : ''}${title}${c.detail ? `, ${c.detail}` : ''}`);
}

function incident(i) {
  const lasted = i.end ? `over after ${age(Date.parse(i.end) - Date.parse(i.start))}` : 'open';
  const by = actor(i.actor);
  return el('li', { class: i.end ? 'over' : 'bad' },
    el('strong', {}, `${word('causes', i.cause).title}${i.device ? ` on ${i.device}` : ''}`), ' ', ago(i.start),
    el('p', {}, `${plural(i.leases, 'lease')}, at worst ${word('states', i.state).title.toLowerCase()} and `,
      `${word('effects', i.effect).title.toLowerCase()}; ${by === 'not known' ? '' : `by ${by}; `}${lasted}`),
    i.around.length ? el('details', { 'data-key': i.id },
      el('summary', { 'data-key': `around ${i.id}` }, `${plural(i.around.length, 'change')} around it`),
      el('ul', {}, i.around.map(change))) : undefined);
}

/** timeline shows what happened, newest first. */
export function timeline(open) {
  const all = entries(open);
  draw('timeline', [all, gap], () => {
    const list = all.slice(0, most).map(({ incident: i, event: e }) => i ? incident(i)
      : el('li', { class: 'info' }, el('strong', {}, word('events', e.type).title), ' ', ago(e.time), el('p', {}, e.message)));
    const notes = [];
    if (all.length > most) notes.push(el('p', {}, `The newest ${most} of ${all.length}.`));
    if (gap) notes.push(el('p', {}, 'Some events before these are lost.'));
    return list.length ? [el('ol', {}, list), ...notes] : [el('p', {}, 'Nothing happened since the exporter looks.'), ...notes];
  });
}
