import { age, ago, clean, clock, draw, el, grow, plural } from './dom.js';
import { show, unread } from './grid.js';
import { problems, term } from './problems.js';
import { add, last, timeline } from './timeline.js';
import { verdict } from './verdict.js';

const poll = 10_000; // the status is read so often, and at each event
const retry = 2_000; // while nothing is known
const patience = 4_000; // for one answer
const trust = poll + patience + 1_000; // so long a status tells of now
const leasesEvery = 30_000; // all leases, where nothing says that they changed
const page = 1000; // leases in one answer

let status; // that was read last
let readAt = 0; // when, by this machine's clock
let trouble = 'nothing was read yet'; // why nothing is known; '' if all is well
let stream; // of events, while the page is seen

async function get(path, kind) {
  const response = await fetch(path, { cache: 'no-store', headers: { Accept: 'application/json' }, signal: AbortSignal.timeout(patience) });
  const date = Date.parse(response.headers.get('Date'));
  const body = await response.json();
  if (body.kind !== kind) throw new Error(body.detail ?? `expected ${kind} at ${path}`);
  clock.ahead = date ? date - Date.now() : 0;
  return body;
}

/** single runs a task once at a time, and once more if it was wanted meanwhile. */
function single(task) {
  let running = false;
  let again = false;
  return async () => {
    again = true;
    if (running) return;
    running = true;
    while (again) {
      again = false;
      await task();
    }
    running = false;
  };
}

const readStatus = single(async () => {
  try {
    const next = await get('api/v1/status', 'NodeStatus');
    verdict(next, clock.now()); // what cannot be summed up is not known
    [status, readAt, trouble] = [next, Date.now(), ''];
    readLeases();
  } catch (error) {
    trouble = error.name === 'TimeoutError' ? `no answer within ${patience / 1000} s` : error.message;
  }
  tick();
});

let leasesOf = ''; // the status that the grid fits
let leasesAt = 0;

/** readLeases turns all pages, where what it would find is not there already. */
const readLeases = single(async () => {
  const { summary, incidents, problems: list } = status;
  const fits = JSON.stringify([summary, incidents, list.map(p => [p.lease, p.state, p.effect])]);
  if (fits === leasesOf && Date.now() - leasesAt < leasesEvery) return;
  try {
    const items = [];
    let next;
    do {
      const list = await get(`api/v1/leases?limit=${page}${next ? `&continue=${encodeURIComponent(next)}` : ''}`, 'LeaseList');
      items.push(...list.items);
      next = list.continue;
    } while (next);
    show(status.node, items);
    [leasesOf, leasesAt] = [fits, Date.now()];
  } catch (error) {
    unread(error.message);
  }
});

const readEvents = single(async () => {
  try {
    let list;
    do {
      const after = list?.continue ?? last;
      list = await get(`api/v1/events?limit=1000${after ? `&after=${after}` : ''}`, 'EventList');
      add(list.items, list.gap, list.last);
    } while (list.continue);
  } catch { /* the status, which is read as often, says what is wrong */ }
});

/** follow opens the stream of events. A browser opens it again by itself, but not where it was refused. */
function follow() {
  if (document.hidden || stream && stream.readyState !== EventSource.CLOSED) return;
  stream = new EventSource(`api/v1/events${last ? `?after=${last}` : ''}`);
  stream.onmessage = message => {
    const event = JSON.parse(message.data);
    add([event], false, event.id);
    readStatus();
  };
  stream.onopen = stream.onerror = () => readStatus();
}

function facts() {
  const { node, version, backend, devices, sources, summary, history } = status;
  draw('node', node, () => [clean(node)]);
  draw('facts', [version, backend, devices, sources, summary.expected, summary.present, summary.stale, history?.problem], () => [
    term('Backend', backend || 'not known'),
    term('Devices', devices.length ? el('ul', {}, devices.map(d => el('li', {},
      `${d.name} ${d.present ? d.up ? 'up' : 'DOWN' : 'MISSING'}`, d.vni ? `, VNI ${d.vni}` : '', d.mac ? `, ${d.mac}` : '', d.mtu ? `, MTU ${d.mtu}` : ''))) : 'none'),
    term('Sources', el('ul', {}, sources.map(s => el('li', {}, `${s.name} `, s.complete ? '' : 'NOT COMPLETE, ',
      s.lastSync ? ['read ', ago(s.lastSync)] : 'never read', s.written ? [', written ', ago(s.written)] : '', s.problem ? `: ${s.problem}` : '')))),
    term('Routes', `${summary.present.toLocaleString('en')} of ${plural(summary.expected, 'expected route')} there`),
    history?.problem ? term('History', history.problem) : undefined,
    version ? term('Exporter', version) : undefined,
  ].filter(Boolean));
}

/** info is what is worth knowing and no fault. */
function info() {
  const { stale, skipped } = status;
  draw('info', [stale, skipped], () => {
    const row = (...cells) => el('tr', {}, cells.map((c, i) => i ? el('td', {}, c) : el('th', { scope: 'row' }, c)));
    const table = (caption, head, rows) => rows.length ? el('table', {}, el('caption', {}, caption),
      el('thead', {}, el('tr', {}, head.map(h => el('th', { scope: 'col' }, h)))), el('tbody', {}, rows)) : undefined;
    const all = [
      table('Objects of flannel\'s form that no lease explains', ['Object', 'Kind', 'Since', 'To remove'], stale.map(o => row(
        el('code', {}, o.object), o.kind, ago(o.since, ''), el('code', {}, o.advice?.map(a => a.command).join('; ') ?? '-')))),
      table('Nodes that are no lease', ['Node', 'Why'], skipped.map(s => row(s.node, s.reason))),
    ].filter(Boolean);
    return all.length ? all : el('p', {}, 'None.');
  });
}

/** tick says what is known now. It runs each second, for what is not read any more is not known. */
function tick() {
  const since = Date.now() - readAt;
  if (!trouble && since > trust) trouble = 'nothing was read for a while';
  let [kind, name, text] = ['unsure', 'NOT KNOWN', trouble];
  try {
    if (status) {
      facts();
      problems(status);
      info();
      timeline(status.incidents);
      if (!trouble) [kind, name, text] = verdict(status, clock.now());
    }
  } catch (error) {
    text = `the page cannot show what it read: ${error.message}`;
  }
  document.body.className = kind;
  document.title = `${name}: routewatch on ${clean(status?.node ?? document.getElementById('node').textContent)}`;
  draw('verdict', [name, text], () => [el('strong', {}, name), ' ', clean(text)]);
  const live = stream?.readyState === EventSource.OPEN ? 'live' : `no events, read every ${poll / 1000} s`;
  const read = readAt ? `last read ${age(since)} ago` : 'not read yet';
  document.getElementById('read').textContent = trouble ? `Not connected: ${read}` : `${read}, ${live}`;
  document.body.toggleAttribute('data-lost', Boolean(trouble));
  document.getElementById('old').hidden = !trouble;
  grow();
}

/** refresh is what happens each poll, and when somebody looks again. */
async function refresh() {
  tick();
  readStatus();
  if (stream?.readyState !== EventSource.OPEN) {
    await readEvents();
    tick();
    follow();
  }
}

// A page that nobody sees gives its stream to others: an exporter has few.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) stream = stream?.close();
  else refresh();
});
setInterval(tick, 1000);
setInterval(refresh, poll);
setInterval(() => trouble && refresh(), retry);
refresh();
