//! The live instances, at one moment.

use rollcall_protocol::InstanceId;

use crate::rendezvous::choose;

/// The service an instance belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `presence-gateway`
    Gateway,
    /// `presence-state`
    State,
    /// `presence-reaper`
    Reaper,
}

const ROLES: [Role; 3] = [Role::Gateway, Role::State, Role::Reaper];

impl Role {
    /// The service's name. The names of its instances begin with it and a `-`.
    pub fn service(self) -> &'static str {
        match self {
            Role::Gateway => "presence-gateway",
            Role::State => "presence-state",
            Role::Reaper => "presence-reaper",
        }
    }

    /// The role of an instance, by its name; `None` if no service has such instances.
    pub fn of(instance: &InstanceId) -> Option<Self> {
        let is_of =
            |role: &Role| instance.as_str().strip_prefix(role.service()).is_some_and(|rest| rest.starts_with('-'));
        ROLES.into_iter().find(is_of)
    }
}

/// A snapshot of the directory: the instances that held a lease when Redis was last asked (at most 0.75 s ago, unless Redis does not
/// answer), without those that this instance found gone since.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By role, each sorted by name.
    alive: [Vec<InstanceId>; 3],
}

impl View {
    /// A view of these instances. Names without a role are ignored.
    pub fn of(instances: impl IntoIterator<Item = InstanceId>) -> Self {
        let mut alive: [Vec<InstanceId>; 3] = Default::default();
        for instance in instances {
            if let Some(role) = Role::of(&instance) {
                alive[role as usize].push(instance);
            }
        }
        alive.iter_mut().for_each(|peers| peers.sort_unstable());
        Self { alive }
    }

    /// The live instances of a role, sorted by name.
    pub fn peers(&self, role: Role) -> &[InstanceId] {
        &self.alive[role as usize]
    }

    /// Whether an instance holds its lease. A binary search, cheap enough for each member of a room.
    pub fn is_alive(&self, instance: &InstanceId) -> bool {
        Role::of(instance).is_some_and(|role| self.peers(role).binary_search(instance).is_ok())
    }

    /// The live instance of a role that serves `key`, by rendezvous hash; `None` if no one is alive.
    pub fn serving(&self, role: Role, key: &str) -> Option<&InstanceId> {
        choose(key, self.peers(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_the_role_that_its_name_begins_with() {
        assert_eq!(Role::of(&"presence-state-0000000a".into()), Some(Role::State));
        assert_eq!(Role::of(&"presence-stateful-1".into()), None);
        assert_eq!(Role::of(&"presence-gateway".into()), None);
    }

    #[test]
    fn a_view_has_instances_of_the_three_services() {
        let names = ["presence-state-2", "presence-gateway-1", "presence-state-1", "other-1"];
        let view = View::of(names.into_iter().map(InstanceId::from));
        assert_eq!(view.peers(Role::State), ["presence-state-1".into(), "presence-state-2".into()]);
        assert!(view.is_alive(&"presence-gateway-1".into()));
        assert!(!view.is_alive(&"other-1".into()) && !view.is_alive(&"presence-gateway-2".into()));
        assert_eq!(view.serving(Role::Reaper, "key"), None);
    }
}
