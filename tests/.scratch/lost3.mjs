import { System } from '../harness/system.mjs';
const system = await System.start({ gateways: 2, states: 2 });
try {
  const [ann, w] = await system.connectMany(2); const t0=Date.now();
  for (const c of [ann,w]) { c.socket.onAny((e,p)=>console.log(Date.now()-t0, c===ann?'ann':'w', e, p.type, p.resync?'RESYNC':'', 'seq',p.seq,'gen',String(p.gen).slice(-6), p.userId ?? p.snapshot.map(m=>m.userId).join())); }
  await ann.join('L','ann',{n:0}); await w.join('L','w'); const pulse = ann.pulse();
  const keys = await system.redis.keys('prs:{room:L}:*'); console.log(keys); console.log(Date.now()-t0,'DEL', await system.redis.command('DEL',...keys));
  if (process.argv[2]) w.pulse();
  if (process.argv[3]) { for (let i=0;i<400;i++) { const a=await w.join('L','w'); console.log(Date.now()-t0,'w joined', a.seq, a.snapshot.map(m=>m.userId).join()); if (a.snapshot.length>1) break; await new Promise(r=>setTimeout(r,20)); } }
  console.log(Date.now()-t0,'quiet'); await pulse.stop(); await new Promise(r=>setTimeout(r,12000)); console.log(ann.roster.unsettled, w.roster.unsettled, system.complaints());
} finally { await system.close(); }
