// What members believe, a newcomer is shown and Redis holds are one and the same, once nothing changes any more.
import { storedMembers } from './keys.mjs';
import { until } from './until.mjs';

const WITHIN_MS = 15_000;

const text = (members) => [...members]
  .map(([connId, { userId, epoch, state }]) => `${connId} ${userId} ${epoch} ${JSON.stringify(state)}`)
  .sort()
  .join('\n');

// Of every room that a client of the test is in, if there is anything left to ask.
export async function assertTruth(system) {
  const followers = system.clients.filter((client) => client.follow && !client.slow && client.inRoom);
  if (followers.length === 0 || !system.redis.isUp || system.gateways.every((gateway) => !gateway.running) || system.states.every((state) => !state.running)) return;
  const rooms = group(followers);
  for (const [room, members] of rooms) {
    await until(`what is believed of ${room} to be what Redis holds`, async () => {
      const stored = text(await storedMembers(system.redis, room));
      for (const { connId, roster } of members) {
        const believed = text(roster.members);
        if (believed !== stored) throw new Error(`${connId} believes\n${believed}\nand Redis holds\n${stored}`);
      }
      return true;
    }, { within: WITHIN_MS });
  }
  const [room, [member]] = rooms.entries().next().value;
  await assertNewcomerSees(system, room, member);
}

// A newcomer of that room is shown what its members believe.
export async function assertNewcomerSees(system, room, member) {
  const gateway = system.gateways.findIndex(({ running }) => running);
  const newcomer = await system.connect(gateway, { follow: false });
  const { snapshot, self } = await until('a newcomer to be let in', async () => {
    const answer = await newcomer.ask('presence:join', { roomId: room, userId: 'newcomer' });
    return answer.ok && answer;
  }, { within: WITHIN_MS, every: 200 });
  await member.hears({ type: 'join', connId: self.connId });
  await newcomer.leave();
  await member.hears({ type: 'leave', connId: self.connId });
  const shown = text(snapshot.filter(({ connId }) => connId !== self.connId).map((one) => [one.connId, one]));
  const believed = text(member.roster.members);
  if (shown !== believed) throw new Error(`a newcomer of ${room} is shown\n${shown}\nand ${member.connId} believes\n${believed}`);
}

function group(followers) {
  const rooms = new Map();
  for (const follower of followers) rooms.set(follower.roster.roomId, [...(rooms.get(follower.roster.roomId) ?? []), follower]);
  return rooms;
}
