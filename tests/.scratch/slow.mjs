import { System } from '../harness/system.mjs'; import { readFileSync } from 'node:fs';
const rss=(pid)=>Math.round(Number(readFileSync(`/proc/${pid}/status`,'utf8').match(/VmRSS:\s+(\d+)/)[1])/1024);
const SLEEP=Number(process.argv[2]??3), N=Number(process.argv[3]??3000);
const system = await System.start({});
try {
  const w = await system.connectMany(2), s = await system.connectMany(SLEEP);
  for (const [i,c] of [...w,...s].entries()) await c.join('r','u'+i);
  const text='x'.repeat(12*1024); await Promise.all(w.map(c=>c.patch({text})));
  const g=system.gateways[0]; console.log('before',rss(g.pid)); s.forEach(c=>c.engine.transport.ws.pause());
  const t0=Date.now();
  for (let n=0;n<N;n++){ await Promise.all(w.map(c=>c.patch({n}))); if(n%100===0) console.log(n, Date.now()-t0,'ms rss',rss(g.pid),'MiB state', rss(system.states[0].pid), 'closed', s.map(c=>c.disconnects.length).join('')); }
  s.forEach(c=>c.engine.transport.ws.resume()); await new Promise(r=>setTimeout(r,14000));
  console.log(s.map(c=>[c.disconnects[0],c.events.length,c.syncs.length]), w.map(c=>c.syncs.length), rss(g.pid)); console.log(g.child.report().split('\n').filter(l=>!l.includes('listening')).slice(-8).join('\n'));
} finally { await system.close(); }
