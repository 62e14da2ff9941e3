// A member of a room uses what it is shown of the others, their connId, as the id of their sessions, on both transports: to
// write, to read, to upgrade, to end them. All of it is refused with 400, and the victims notice nothing.
import { Session, get, openPolling, post, request } from '../wire.mjs';

export const bound = 'connId is an id of its own and opens nothing';
export const floor = { opened: 5, requests: 2 };

const ROOM = 'attacked-takeover';
const at = (sid, transport = 'polling') => `/socket.io/?EIO=4&transport=${transport}&sid=${sid}`;

// A member by long polling, which answers with what it was sent.
async function pollingVictim(gateway, tally) {
  const path = at(await openPolling(gateway, tally));
  const write = (packet) => request(gateway, tally, post(path, packet));
  await write('40');
  await request(gateway, tally, get(path));
  await write(`421["presence:join",{"roomId":"${ROOM}","userId":"polling","state":{"safe":true}}]`);
  const { body } = await request(gateway, tally, get(path));
  return { connId: body.match(/"self":\{"connId":"([^"]+)"/)?.[1], write };
}

export async function attack({ gateways: [gateway], tally, rest, ended }) {
  const promise = (holds, text) => holds || tally.broken.push(text);
  const attacker = await Session.open(gateway, tally);
  await attacker.join(ROOM, 'attacker');
  const seen = [];
  attacker.listen((packet) => seen.push(packet));
  const socket = await Session.open(gateway, tally);
  await socket.join(ROOM, 'websocket', { safe: true });
  const polling = await pollingVictim(gateway, tally);
  promise(polling.connId && socket.connId, 'a victim could not join');
  await rest(200);
  const announced = seen.length;

  for (const [name, { connId }] of Object.entries({ 'long polling': polling, WebSocket: socket })) {
    for (const packet of ['42["presence:heartbeat",{"patchState":{"safe":false}}]', '42["presence:leave",{}]', '41', '1']) {
      const { status } = await request(gateway, tally, post(at(connId), packet));
      promise(status === 400, `POST ${packet} to a session of ${name} under its connId: ${status}`);
    }
    const { status } = await request(gateway, tally, get(at(connId)));
    promise(status === 400, `GET of a session of ${name} under its connId: ${status}`);
    const upgraded = await Session.open(gateway, tally, { namespace: false, query: `&sid=${connId}` });
    promise(!upgraded, `a WebSocket for a session of ${name} under its connId was let in`);
    upgraded?.close();
  }

  await rest(500);
  promise(seen.length === announced, `members received: ${seen.slice(announced).join(' ')}`);
  promise((await socket.ask('presence:heartbeat', {})).ok, 'the WebSocket is no member any more');
  promise((await polling.write('422["presence:heartbeat",{}]')).status === 200, 'the session of long polling has ended');
  const { snapshot = [] } = await attacker.join(ROOM, 'attacker');
  const safe = snapshot.filter(({ state }) => state.safe).map(({ userId }) => userId).sort().join();
  promise(safe === 'polling,websocket', `members whose state is as it was: ${safe}`);
  await ended;
}
