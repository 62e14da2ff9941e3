import { System } from '../harness/system.mjs';
const system = await System.start({ gateways: 2, states: 2 });
try {
  for (let round=0; round<5; round++) {
  const clients = await system.connectMany(200);
  const answers = await Promise.all(clients.map((c, i) => c.join('x'+round, 'u'+(i%100), {i})));
  await new Promise(r=>setTimeout(r,1000));
  const max = Math.max(...answers.map(a=>a.seq));
  const bad = clients.filter(c=>c.roster.members.size!==200);
  console.log('max',max,'bad',bad.length, 'complaints', system.complaints().length);
  for (const c of bad.slice(0,6)) {
    const i = clients.indexOf(c); const a = answers[i];
    const missing = clients.filter(o=>!c.roster.members.has(o.connId)).map(o=>answers[clients.indexOf(o)].seq).sort((x,y)=>x-y);
    console.log('client',i,'gw',i%2,'own seq',a.seq,'snapshot',a.snapshot.length,'events',c.events.length,'first ev seq',c.events[0]?.seq,'roster seq',c.roster.seq,'missing joins with seq',missing.join(), 'size', c.roster.members.size, c.complaints().slice(0,2));
  }
  system.closeClients();
  }
} finally { await system.close(); }
