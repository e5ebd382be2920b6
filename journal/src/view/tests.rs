use super::*;
use crate::event::Event;
use crate::samples::{
    at, completed, ended_badly, execution, failed, fired, history, id, received, step, webhook,
};

/// The view of an execution of the steps `a` and `b` right after its webhook.
fn fresh() -> View {
    View {
        execution: id(),
        status: ViewStatus::Received,
        current_step: Some(step("a")),
        source: SourceName::new("github"),
        delivery_id: DeliveryId::new("d-1"),
        event_type: None,
        workflow: WorkflowName::new("deploy"),
        workflow_hash: Some(WorkflowHash::new("0123456789abcdef0123456789abcdef")),
        created_at: at(1),
        updated_at: at(1),
        error: None,
        filtered: None,
        keys: vec![],
        key_count: 0,
        steps: vec![pending("a"), pending("b")],
        sequence: Sequence::new(1),
        head: None,
        expires_at: at(604_800),
    }
}

fn pending(name: &str) -> StepView {
    StepView {
        name: step(name),
        status: "pending".into(),
        attempts: 0,
        started_at: None,
        ended_at: None,
        error: None,
        branches: None,
    }
}

/// A step whose first attempt began at second 1 and whose last ended at this one.
fn tried(name: &str, status: &str, attempts: u32, ended_at: i64) -> StepView {
    let failed = status != "completed";
    StepView {
        name: step(name),
        status: status.into(),
        attempts,
        started_at: Some(at(1)),
        ended_at: Some(at(ended_at)),
        error: failed.then(|| "timeout: no answer in 30s".into()),
        branches: None,
    }
}

fn cause() -> Cause {
    Cause { step: Some(step("a")), kind: "timeout".into(), message: "no answer in 30s".into() }
}

fn view(events: impl IntoIterator<Item = Event>) -> View {
    View::of(&id(), &execution(events))
}

#[test]
fn a_webhook_that_was_recorded_is_received() {
    assert_eq!(view([]), fresh());
}

#[test]
fn an_execution_with_a_result_is_running() {
    let expected = View {
        status: ViewStatus::Running,
        current_step: Some(step("b")),
        updated_at: at(2),
        steps: vec![tried("a", "completed", 1, 2), pending("b")],
        sequence: Sequence::new(2),
        ..fresh()
    };
    assert_eq!(view([completed("a", 1)]), expected);
}

#[test]
fn an_execution_before_its_retry_is_waiting() {
    let expected = View {
        status: ViewStatus::Waiting,
        updated_at: at(2),
        steps: vec![tried("a", "retrying", 1, 2), pending("b")],
        sequence: Sequence::new(2),
        ..fresh()
    };
    assert_eq!(view([failed("a", 1, Some(at(9)))]), expected);
}

#[test]
fn an_execution_at_its_retry_is_running() {
    let expected = View {
        status: ViewStatus::Running,
        updated_at: at(3),
        steps: vec![tried("a", "retrying", 1, 2), pending("b")],
        sequence: Sequence::new(3),
        ..fresh()
    };
    assert_eq!(view([failed("a", 1, Some(at(9))), fired(at(9))]), expected);
}

#[test]
fn an_execution_that_is_about_to_fail_runs_and_says_why() {
    let expected = View {
        status: ViewStatus::Running,
        updated_at: at(2),
        error: Some(cause()),
        steps: vec![tried("a", "failed", 1, 2), pending("b")],
        sequence: Sequence::new(2),
        ..fresh()
    };
    assert_eq!(view([failed("a", 1, None)]), expected);
}

#[test]
fn an_execution_that_failed_shows_its_step_and_why() {
    let expected = View {
        status: ViewStatus::Failed,
        workflow_hash: None,
        updated_at: at(3),
        error: Some(cause()),
        steps: vec![tried("a", "failed", 1, 2), pending("b")],
        sequence: Sequence::new(3),
        ..fresh()
    };
    assert_eq!(view([failed("a", 1, None), ended_badly(cause())]), expected);
}

#[test]
fn an_execution_that_completed_is_at_no_step() {
    let events =
        [completed("a", 1), completed("b", 1), Event::ExecutionCompleted { filtered: None }];
    let expected = View {
        status: ViewStatus::Completed,
        workflow_hash: None,
        current_step: None,
        updated_at: at(4),
        steps: vec![tried("a", "completed", 1, 2), tried("b", "completed", 1, 3)],
        sequence: Sequence::new(4),
        ..fresh()
    };
    assert_eq!(view(events), expected);
}

#[test]
fn a_view_shows_what_the_webhook_says() {
    let webhook = crate::event::Webhook {
        event_type: Some("push".into()),
        keys: vec!["ref".into()],
        key_count: 1,
        ..webhook(&["a", "b"])
    };
    let history = history([Event::WebhookReceived(webhook.into())]);

    let view = View::of(&id(), &Execution::fold(&history).unwrap().unwrap());

    let expected =
        View { event_type: Some("push".into()), keys: vec!["ref".into()], key_count: 1, ..fresh() };
    assert_eq!(view, expected);
}

#[test]
fn a_workflow_without_steps_is_at_no_step() {
    let view = View::of(&id(), &Execution::fold(&history([received(&[])])).unwrap().unwrap());

    assert_eq!(view, View { current_step: None, steps: vec![], ..fresh() });
}

#[test]
fn every_status_has_one_word() {
    let words = ["received", "running", "waiting", "completed", "failed", "stalled"];
    for word in words {
        let status = ViewStatus::parse(word).unwrap();
        assert_eq!(status.as_str(), word);
        assert_eq!(serde_json::to_value(status).unwrap(), word);
        assert_eq!(status.is_terminal(), ["completed", "failed"].contains(&word));
    }
    assert_eq!(ViewStatus::parse("Running"), None);
}
