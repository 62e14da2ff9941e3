// Members' rosters, a newcomer's snapshot and Redis' records agree once nothing changes any more.
import { storedMembers } from './keys.mjs';
import { until } from './until.mjs';

const WITHIN_MS = 15_000;

const text = (members) => [...members]
  .map(([connId, { userId, epoch, info, state }]) => `${connId} ${userId} ${epoch} ${JSON.stringify(info)} ${JSON.stringify(state)}`)
  .sort()
  .join('\n');

// Checks every room that a client of the test is in, if a system is left to ask.
export async function assertAgreement(system) {
  const followers = system.clients.filter((client) => client.follow && !client.slow && client.inRoom);
  if (followers.length === 0 || !system.redis.isUp || system.gateways.every((gateway) => !gateway.running) || system.states.every((state) => !state.running)) return;
  const rooms = group(followers);
  for (const [room, members] of rooms) {
    await until(`rosters of ${room} to agree with Redis`, async () => {
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

// A newcomer's snapshot agrees with the rosters of the room's members.
export async function assertNewcomerSees(system, room, member) {
  const gateway = system.gateways.findIndex(({ running }) => running);
  const newcomer = await system.connect(gateway, { follow: false, as: 'newcomer' });
  const { snapshot, self } = await until('a newcomer to be let in', async () => {
    const answer = await newcomer.ask('presence:join', { roomId: room, userId: 'newcomer' });
    return answer.ok && answer;
  }, { within: WITHIN_MS, every: 200 });
  await member.receives({ type: 'join', connId: self.connId });
  await newcomer.leave();
  await member.receives({ type: 'leave', connId: self.connId });
  const shown = text(snapshot.filter(({ connId }) => connId !== self.connId).map((one) => [one.connId, one]));
  const believed = text(member.roster.members);
  if (shown !== believed) throw new Error(`a newcomer of ${room} is shown\n${shown}\nand ${member.connId} believes\n${believed}`);
}

function group(followers) {
  const rooms = new Map();
  for (const follower of followers) rooms.set(follower.roster.roomId, [...(rooms.get(follower.roster.roomId) ?? []), follower]);
  return rooms;
}
