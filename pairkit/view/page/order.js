// Orders of completions: groups of positions, best first; those of a group are equals. Nothing here touches the page.

/** The order that a set has: the annotator's, or that of its ranks; `rest` are those that it does not order. */
export function orderOf(completions, label) {
  if (label?.order) return withRest(label.order.map((group) => [...group]), completions);
  const ranked = completions.filter((completion) => completion.rank !== null);
  const ranks = [...new Set(ranked.map((completion) => completion.rank))].sort((a, b) => a - b);
  const groups = ranks.map((rank) =>
    ranked.filter((completion) => completion.rank === rank).map((completion) => completion.position),
  );
  return withRest(groups, completions);
}

function withRest(groups, completions) {
  const ordered = new Set(groups.flat());
  return { groups, rest: completions.map((each) => each.position).filter((position) => !ordered.has(position)) };
}

/** Positions in the order in which they are shown. */
export const flat = ({ groups, rest }) => [...groups.flat(), ...rest];

/** The rank of a position: one more than the number of strictly better ones; null if it is not ordered. */
export function rankOf({ groups }, position) {
  let better = 0;
  for (const group of groups) {
    if (group.includes(position)) return better + 1;
    better += group.length;
  }
  return null;
}

/** Where a position is: its group, and whether it is alone there. */
function placeOf(groups, position) {
  const index = groups.findIndex((group) => group.includes(position));
  return { index, alone: index >= 0 && groups[index].length === 1 };
}

/** Move a position up (-1) or down (1): out of a tie first, then past the next group. */
export function moved({ groups, rest }, position, step) {
  const { index, alone } = placeOf(groups, position);
  if (index < 0) {
    // What was not ordered becomes the last, whichever way it goes.
    return { groups: [...groups, [position]], rest: rest.filter((each) => each !== position) };
  }
  const without = groups.map((group) => group.filter((each) => each !== position)).filter((group) => group.length);
  const target = alone ? index + step : step < 0 ? index : index + 1;
  const place = Math.max(0, Math.min(without.length, target));
  return { groups: [...without.slice(0, place), [position], ...without.slice(place)], rest };
}

/** Tie a position with the group above it; one that is tied leaves its group, and comes after it. */
export function tied({ groups, rest }, position) {
  const { index, alone } = placeOf(groups, position);
  if (index < 0) return { groups, rest };
  if (!alone) return moved({ groups, rest }, position, 1);
  if (index === 0) return { groups, rest };
  const above = [...groups[index - 1], position];
  return { groups: [...groups.slice(0, index - 1), above, ...groups.slice(index + 1)], rest };
}

/** Put a position before another one, alone in its group; before null: at the end of the ordered ones. */
export function placed({ groups, rest }, position, before) {
  const without = groups.map((group) => group.filter((each) => each !== position)).filter((group) => group.length);
  const found = before === null ? -1 : without.findIndex((group) => group.includes(before));
  const place = found < 0 ? without.length : found;
  return {
    groups: [...without.slice(0, place), [position], ...without.slice(place)],
    rest: rest.filter((each) => each !== position),
  };
}

export const equal = (one, other) => JSON.stringify(one) === JSON.stringify(other);
