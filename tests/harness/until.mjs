// Waiting: for a condition, or for nothing to happen. Owns the only timers that tests wait on,
// so that no test sleeps and hopes. Knows nothing of what is waited for.

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Resolves with the first truthy value of `probe` (which may be async and may throw meanwhile).
export async function until(what, probe, { within = 5000, every = 20 } = {}) {
  const started = Date.now();
  for (;;) {
    let failure;
    try {
      const value = await probe();
      if (value) return value;
    } catch (error) {
      failure = error;
    }
    if (Date.now() - started > within) {
      throw new Error(`waited ${within} ms for: ${what}`, { cause: failure });
    }
    await sleep(every);
  }
}

// Watches for `ms` that `probe` stays truthy: for promises of the form "and nothing else happens".
export async function holds(what, probe, { ms, every = 50 }) {
  const end = Date.now() + ms;
  do {
    if (!(await probe())) throw new Error(`no longer holds: ${what}`);
    await sleep(every);
  } while (Date.now() < end);
}

// Fails a promise that takes too long; the timer never outlives it.
export async function withTimeout(what, ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
