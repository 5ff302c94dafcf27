import { plural, word } from './dom.js';

/** maxAge is how many milliseconds old a status may be and still tell of now. */
const maxAge = Number(document.getElementById('words').dataset.maxAge);

/** counted is how many leases have such a state, also those that are not listed. */
function counted(status, such) {
  const sum = Object.entries(status.summary.states).reduce((n, [name, k]) => n + (such(name) ? k : 0), 0);
  return Math.max(sum, status.problems.filter(p => such(p.state)).length);
}

/**
 * verdict sums a status up as the CLI does: [class, word, text]. What is known
 * to be bad outweighs what is not known; anything but healthy is not green.
 */
export function verdict(status, now) {
  const bad = counted(status, name => word('states', name).bad);
  const unknown = counted(status, name => name === 'unknown');
  const faults = status.nodeProblems.filter(p => !word('nodeProblems', p.problem).info).length;
  const old = now - Date.parse(status.time) > maxAge;
  if (bad || faults) {
    const parts = [];
    if (bad) parts.push(`${bad.toLocaleString('en')} of ${plural(Math.max(bad, status.summary.leases), 'lease')} bad${effects(status)}`);
    if (faults) parts.push(`${plural(faults, 'problem')} of the node itself`);
    if (!status.complete) parts.push('and not everything could be read');
    if (old) parts.push('by an old answer');
    return ['bad', 'PROBLEMS', parts.join(', ')];
  }
  const why = status.sources.filter(s => s.problem).map(s => `: ${s.name}: ${s.problem}`).join('');
  if (!status.complete) return ['unsure', 'CANNOT TELL', `not everything could be read${why}`];
  if (unknown) return ['unsure', 'CANNOT TELL', `${plural(unknown, 'lease')} could not be judged`];
  if (old) return ['unsure', 'CANNOT TELL', 'the exporter has judged nothing for minutes and may be stuck'];
  if (!status.healthy) return ['unsure', 'CANNOT TELL', `the exporter says not healthy${why}`];
  return ['good', 'HEALTHY', healthy(status.summary)];
}

function healthy({ leases, states }) {
  if (!leases) return 'no other node has a lease, so there is nothing to compare';
  const rest = Object.entries(states).filter(([name, n]) => n && name !== 'ok').map(([name, n]) => `, ${n.toLocaleString('en')} ${name}`);
  return rest.length ? `${plural(states.ok ?? 0, 'lease')} ok${rest.join('')}` : `all ${plural(leases, 'lease')} ok`;
}

/** effects says what happens to the packets of the bad leases. */
function effects({ problems, problemsTotal, summary }) {
  const count = {};
  for (const p of problems) {
    if (word('states', p.state).bad) count[p.effect] = (count[p.effect] ?? 0) + 1;
  }
  // The list may be cut. The summary is not, but counts leases that are pending as well.
  const cut = problemsTotal > problems.length;
  const some = cut && summary.states.pending ? 'at least ' : '';
  const n = name => cut && !some && summary.effects[name] || count[name];
  const parts = Object.keys(count).map(name => `${some}${n(name).toLocaleString('en')} ${word('effects', name).title.toLowerCase()}`);
  return parts.length ? ` (${parts.join(', ')})` : '';
}
