//! Whether the run on this thread may do what its script is about to: asked by SDK functions before they do anything.
//!
//! A refusal ends the run, whatever the script catches. What the caller may not do is for the caller to hear, as 403, and no
//! failure of the script's; and a script that went on without what it was refused would do half of its work in the name of
//! someone who may not have it done.

use std::fmt;

use picloud_core::{capability::Capability, event::ActorKind};
use rhai::EvalAltResult;

use super::{
    current::with,
    input::Input,
    meter::{self, Over},
};

/// Ends the run unless whoever made it happen may do this; nobody in particular may. `call` is named as scripts call it.
pub(super) fn need(call: impl fmt::Display, capability: Capability) -> Result<(), Box<EvalAltResult>> {
    go_on_unless(|input| refusal(input, &call, capability))
}

/// The same for what takes someone in particular: nobody may not.
pub(super) fn need_principal(call: impl fmt::Display, capability: Capability) -> Result<(), Box<EvalAltResult>> {
    go_on_unless(|input| refusal_of_nobody(input, &call, capability).or_else(|| refusal(input, &call, capability)))
}

fn go_on_unless(refused: impl FnOnce(&Input) -> Option<String>) -> Result<(), Box<EvalAltResult>> {
    match with(|run| refused(&run.input))? {
        None => Ok(()),
        Some(message) => Err(meter::end(Over::Forbidden(message))),
    }
}

fn refusal(input: &Input, call: &impl fmt::Display, capability: Capability) -> Option<String> {
    if input.rights.allows(capability) {
        return None;
    }
    let (who, kind) = match &input.principal {
        Some(principal) => (principal.id.as_str(), principal.kind),
        None => ("who made this happen", ActorKind::System),
    };
    let what_to_do = match kind {
        ActorKind::ApiKey => "give the key that scope, or the account a role that holds it",
        ActorKind::Trigger => {
            "give the account that registered the trigger, and who deployed the script, a role that holds it"
        }
        ActorKind::Account | ActorKind::Public | ActorKind::System => "give the account a role that holds it",
    };
    Some(format!("{call} needs {capability}, which {who} does not have: {what_to_do}"))
}

fn refusal_of_nobody(input: &Input, call: &impl fmt::Display, capability: Capability) -> Option<String> {
    let what_to_do = "call with an API key whose scopes have it";
    (!input.rights.has_principal())
        .then(|| format!("{call} needs {capability}, which nobody has without credentials: {what_to_do}"))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use chrono::DateTime;
    use picloud_core::{
        capability::Capabilities,
        id::InvocationId,
        run::{InvocationType, Rights},
    };

    use super::*;
    use crate::sandbox::PrincipalInfo;

    fn input(principal: Option<(ActorKind, &str)>, rights: Rights) -> Input {
        Input {
            request: Arc::default(),
            kind: InvocationType::Http,
            invocation: InvocationId::generate(),
            request_id: None,
            principal: principal.map(|(kind, id)| PrincipalInfo { kind, id: id.to_owned() }),
            rights,
            event: None,
            now: DateTime::UNIX_EPOCH,
            seed: [0; 32],
            deadline: Instant::now(),
            cancelled: Arc::default(),
        }
    }

    #[test]
    fn a_refusal_names_the_call_the_capability_and_who_lacks_it() {
        let lacking = |kind, id| {
            let input = input(Some((kind, id)), Rights::Principal(Capabilities::NONE));
            refusal(&input, &"kv::set", Capability::AppKvWrite).expect("it is refused")
        };
        let cases = [
            (ActorKind::ApiKey, "key_1", "give the key that scope, or the account a role that holds it"),
            (ActorKind::Account, "acc_1", "give the account a role that holds it"),
            (
                ActorKind::Trigger,
                "trg_1",
                "give the account that registered the trigger, and who deployed the script, a role that holds it",
            ),
        ];
        for (kind, id, what_to_do) in cases {
            let told = format!("kv::set needs AppKvWrite, which {id} does not have: {what_to_do}");
            assert_eq!(lacking(kind, id), told);
        }
    }

    #[test]
    fn what_takes_a_principal_is_refused_to_nobody_and_to_who_lacks_it() {
        let (call, needed) = ("dead_letters::replay", Capability::AppDeadLetterManage);
        let nobody = input(None, Rights::Public);
        let told = "dead_letters::replay needs AppDeadLetterManage, which nobody has without credentials: \
                    call with an API key whose scopes have it";
        assert_eq!(refusal_of_nobody(&nobody, &call, needed).as_deref(), Some(told));
        assert_eq!(refusal(&nobody, &call, needed), None, "but for that the script is the gate");

        let key = |held: &[Capability]| {
            input(Some((ActorKind::ApiKey, "key_1")), Rights::Principal(held.iter().copied().collect()))
        };
        assert_eq!(refusal_of_nobody(&key(&[]), &call, needed), None);
        assert!(refusal(&key(&[]), &call, needed).is_some());
        assert_eq!(refusal(&key(&[needed]), &call, needed), None);
    }
}
