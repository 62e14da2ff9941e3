// The users of Redis as a deployment has them: deploy/redis/users.acl, with passwords made by deploy/redis/setup.sh.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { temporaryFolder } from './child.mjs';
import { RedisCluster } from './cluster.mjs';
import { Redis, freePort } from './redis.mjs';
import { pathOf } from './repository.mjs';
import { RespClient } from './resp.mjs';

const DEPLOY = pathOf('deploy/redis');

export const SERVICES = ['gateway', 'presence-state', 'reaper'];
const OTHERS = ['redis', 'collector'];
const AT_SENTINEL = '-@all +auth +ping +client|id +info +sentinel|get-master-addr-by-name +sentinel|sentinels';

export class Users {
  constructor(prefix = 'prs') {
    this.root = temporaryFolder('users');
    for (const user of [...OTHERS, ...SERVICES]) mkdirSync(join(this.root, 'secrets', user), { recursive: true });
    mkdirSync(join(this.root, 'given'));
    cpSync(join(DEPLOY, 'users.acl'), join(this.root, 'users.acl'));
    this.prefix = prefix;
    this.setUp();
  }

  setUp() {
    execFileSync('sh', [join(DEPLOY, 'setup.sh')], { env: { PATH: process.env.PATH, SETUP_ROOT: this.root, REDIS_KEY_PREFIX: this.prefix } });
  }

  get aclFile() {
    return join(this.root, 'secrets/redis/users.acl');
  }

  // The folder is that of the user's container; that of admin is Redis'.
  passwordFile(folder) {
    return join(this.root, 'secrets', folder, 'redis_password');
  }

  password(folder) {
    return readFileSync(this.passwordFile(folder), 'utf8').trim();
  }

  // A Redis with these users; `options` of redis-server in addition.
  async startRedis({ durable = false, options } = {}) {
    const redis = new Redis(durable, await freePort(), { aclfile: this.aclFile, ...options }, this.#admin);
    await redis.restart();
    return redis;
  }

  // A cluster, each server of it with these users.
  startCluster() {
    return RedisCluster.start({ options: { aclfile: this.aclFile, ...this.replication }, credentials: this.#admin });
  }

  // As whom a replica follows its master.
  get replication() {
    const [masteruser, masterauth] = this.#admin;
    return { masteruser, masterauth };
  }

  // How a Sentinel that watches the Redis of this name logs in there, and its own users: services show the same name and password to it
  // (docs/operate/redis-acl.md).
  sentinelLines = (name) => [
    `sentinel auth-user ${name} admin`, `sentinel auth-pass ${name} ${this.password('redis')}`,
    ...SERVICES.map((user) => `user ${user} on >${this.password(user)} ${AT_SENTINEL}`),
  ];

  get #admin() {
    return ['admin', this.password('redis')];
  }

  // What names a service its user.
  env(redis, user) {
    return { REDIS_URL: redis.url.replace('://', `://${user}@`), REDIS_PASSWORD_FILE: this.passwordFile(user), REDIS_KEY_PREFIX: this.prefix };
  }

  // A connection as that user.
  async connect(redis, user) {
    const client = await RespClient.connect(redis.port);
    await client.command('AUTH', user, this.password(user));
    return client;
  }
}
