import { System } from '../harness/system.mjs';
const system = await System.start({ gateways: 2, states: 2 });
try {
  const clients = await system.connectMany(Number(process.argv[2] ?? 10));
  const logs = clients.map((c) => { const log=[]; c.log=log; c.socket.prependAny?.((e, p) => log.push(`${e==='presence:sync'?'SYNC':p.type}${p.resync?'*':''} ${p.seq} ${p.userId} ${p.reason ?? ''}`)); return log; });
  await Promise.all(clients.map(async (c, i) => {
    for (let r = 0; r < 2; r++) {
      for (const s of [{r},{r,again:true}]) {
        await new Promise((res) => c.socket.emit('presence:join', {roomId:'x',userId:'u'+i,state:s}, (a) => { c.log.push(`ANSWER join seq ${a.seq} n=${a.snapshot?.length}`); res(); }));
      }
      await new Promise((res) => c.socket.emit('presence:leave', (a) => { c.log.push('ANSWER leave'); res(); }));
    }
  }));
  await new Promise(r=>setTimeout(r,500));
  clients.forEach((c,i)=>{ console.log('---','u'+i); let last=null; for (const l of c.log) { const m=l.match(/(?:seq )?(\d+)/); let flag=''; if(l.startsWith('ANSWER join')) last=+l.match(/seq (\d+)/)[1]; else if (l.startsWith('ANSWER leave')) last=null; else { const s=+l.split(' ')[1]; if(last!==null && s!==last+1) flag='   <<<<'; last=s;} console.log(l+flag);} });
} finally { await system.close(); }
