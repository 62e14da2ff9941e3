import { System } from '../harness/system.mjs';
const system = await System.start({ gateways: 1, states: 1 });
try {
  const beaters = await system.connectMany(5); const w = await system.connect(0);
  for (const [i,b] of beaters.entries()) { await b.join('f','b'+i); b.pulse(); await new Promise(r=>setTimeout(r,130)); }
  let worst = Array(5).fill(0); const t0=Date.now(); let next=5000;
  while (Date.now()-t0 < 40000) { const at=Date.now(); const a = await w.join('f','w'); for (const m of a.snapshot) if (m.userId[0]==='b') { const i=+m.userId[1]; worst[i]=Math.max(worst[i], at-m.lastSeenMs);} await new Promise(r=>setTimeout(r,20)); if (at-t0>next) { console.log(next, worst.join(' ')); worst.fill(0); next+=5000; } }
} finally { await system.close(); }
