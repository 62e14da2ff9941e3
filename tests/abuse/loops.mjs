// How attackers repeat themselves.

// Does `step(index)` again and again in so many lanes, until the attack is over. A lane whose step returns false ends.
export async function lanes(count, { over, ended }, step) {
  const lane = async (_, index) => {
    for (let turn = 0; !over(); turn += 1) {
      if ((await Promise.race([step(index, turn), ended])) === false) return;
      // A step that never waits must not keep the process from noticing the end.
      if (turn % 64 === 0) await new Promise(setImmediate);
    }
  };
  await Promise.all(Array.from({ length: count }, lane));
}
