//! One world: its tables, functions and outsiders, from the first webhook to the last end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue, Method};
use everhook_journal::guard::Guard;
use everhook_journal::store::{Item, Store};
use everhook_journal::{ExecutionId, Timestamp};
use serde_json::Value;
use tokio::sync::Notify;

use crate::checks::{Checked, Checks, Violation};
use crate::dice::Dice;
use crate::executor::{Executor, Process, WORLD, executor, roll, sleep, timeout};
use crate::faults::{Fault, Faults};
use crate::functions::{self, Functions};
use crate::kit::{SOURCES, kit};
use crate::objects::Objects;
use crate::stream::Stream;
use crate::tables::{Items, Key, SimulatedTables};

/// When every world begins: 24 November 2026.
const BEGINNING: i64 = 1_795_486_845_000;

/// How long things go wrong, in seconds: at least, and at most.
const FAULTY: (u64, u64) = (60, 900);

/// How long executions may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(48 * 3600);

/// How a world ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub faults: Vec<u64>,
    /// How many executions completed, failed, and were cancelled.
    pub ends: [u64; 3],
    /// How many appends there were.
    pub appends: u64,
    /// How many calls were answered.
    pub calls: u64,
    /// How long it took, in the world's own time.
    pub took: Duration,
    /// A digest of everything that happened, in order.
    pub digest: u64,
}

/// What one world consists of.
pub(crate) struct World {
    pub(crate) items: RefCell<Items>,
    pub(crate) store: Store,
    pub(crate) objects: Arc<Objects>,
    pub(crate) functions: Functions,
    pub(crate) checks: RefCell<Checks>,
    /// The version of the workflows that new processes have.
    pub(crate) version: Cell<usize>,
    pub(crate) run_ahead: bool,
    faults: Faults,
    stream: Stream,
    due: Notify,
    senders: Cell<usize>,
    violation: RefCell<Option<Violation>>,
    processes: RefCell<Vec<String>>,
    digest: Cell<u64>,
    calls: Cell<u64>,
    is_told: bool,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread.
pub(crate) fn world() -> Rc<World> {
    CURRENT.with_borrow(Clone::clone).expect("called inside a world")
}

/// Runs one world; tells what happens if asked to.
pub fn run(seed: u64, off: Option<Guard>, is_told: bool) -> Outcome {
    let mut dice = Dice::new(seed);
    let faults = Faults::draw(&mut dice);
    let run_ahead = !dice.happens(0.2);
    let world = Rc::new(World {
        items: RefCell::default(),
        store: Store::simulated(Arc::new(SimulatedTables)),
        objects: Objects::new(),
        functions: Functions::new(),
        checks: RefCell::default(),
        version: Cell::new(0),
        run_ahead,
        faults,
        stream: Stream::new(),
        due: Notify::new(),
        senders: Cell::new(0),
        violation: RefCell::default(),
        processes: RefCell::new(vec!["world".into()]),
        digest: Cell::new(0xcbf2_9ce4_8422_2325),
        calls: Cell::new(0),
        is_told,
    });
    CURRENT.set(Some(world.clone()));
    let mut took = Duration::ZERO;
    let kept = std::cell::RefCell::new(None);
    Executor::run(dice, BEGINNING, off, |executor| {
        *kept.borrow_mut() = Some(executor.clone());
        begin(&world);
    });
    if let Some(executor) = kept.take() {
        took = executor.now();
    }
    let violation = world.violation.borrow_mut().take();
    let violation = violation.or_else(|| match world.faults.have_ceased() {
        true if world.is_done() => world.checks.borrow().end().err(),
        _ => Some(Violation { rule: "L1", what: world.unfinished() }),
    });
    CURRENT.set(None);
    let checks = world.checks.borrow();
    Outcome {
        violation,
        faults: world.faults.counts(),
        ends: checks.ends(),
        appends: checks.appends,
        calls: world.calls.get(),
        took,
        digest: world.digest.get(),
    }
}

fn begin(world: &Rc<World>) {
    let executor = executor();
    world.stream.open(roll(|dice| dice.between(1, 2)) as usize);
    let many = roll(|dice| dice.between(1, 5)) as usize;
    world.senders.set(many);
    for number in 0..many {
        let source = SOURCES[roll(|dice| dice.below(SOURCES.len()))];
        executor.spawn(WORLD, sender(source, number));
    }
    executor.spawn(WORLD, sweep());
    if world.strikes(Fault::SecondSweep) {
        executor.spawn(WORLD, sweep());
    }
    executor.spawn(WORLD, kills());
    executor.spawn(WORLD, operator());
    if world.strikes(Fault::NewVersion) {
        executor.spawn(WORLD, async {
            sleep(Duration::from_secs(roll(|dice| dice.between(1, 300)))).await;
            crate::world::world().version.set(1);
        });
    }
    executor.spawn(WORLD, end());
}

impl World {
    /// Whether this goes wrong now.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let strikes = roll(|dice| self.faults.strikes(fault, dice));
        if strikes {
            self.tell(|| format!("fault: {}", Fault::ALL[fault as usize].2));
        }
        strikes
    }

    /// Tells what happens, if somebody listens; it is part of the digest in any case.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            let executor = executor();
            let process = executor.current().0 as usize;
            let name = self.processes.borrow()[process].clone();
            println!("{:>12.3} {name:<14} {}", executor.now().as_secs_f64(), what());
        }
    }

    /// An item was written.
    pub(crate) fn written(
        &self,
        table: &str,
        key: &Key,
        before: Option<&Item>,
        after: Option<&Item>,
    ) {
        self.calls.set(self.calls.get() + 1);
        self.mix(key, after);
        let Some(execution) = ExecutionId::parse(&key.0) else { return };
        let now = self.now();
        if table == "journal" {
            self.check(|checks| checks.appended(&key.0, before, after, now));
            self.stream.record(&execution, key.1);
        } else {
            self.check(|checks| checks.row(&key.0, after, now));
            self.due.notify_waiters();
        }
    }

    /// An object was stored.
    pub(crate) fn objects_written(&self, location: &str) {
        let name = location.rsplit('/').next().unwrap_or(location).to_owned();
        self.checks.borrow_mut().objects.insert(name);
    }

    fn mix(&self, key: &Key, after: Option<&Item>) {
        let mut digest = self.digest.get();
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(&executor().now().as_micros().to_le_bytes());
        add(key.0.as_bytes());
        add(&key.1.to_le_bytes());
        for name in
            ["events", "append", "previous", "due_at", "generation", "sequence", "steps", "head"]
        {
            let value = after.and_then(|item| item.get(name));
            let text = value.and_then(|value| value.as_s().or_else(|_| value.as_n()).ok());
            add(text.map_or(b"-".as_slice(), |text| text.as_bytes()));
        }
        self.digest.set(digest);
    }

    /// Looks whether something holds; a world ends where it does not.
    pub(crate) fn check(&self, look: impl FnOnce(&mut Checks) -> Checked) {
        let checked = look(&mut self.checks.borrow_mut());
        if let Err(violation) = checked {
            self.tell(|| format!("VIOLATION {}: {}", violation.rule, violation.what));
            self.violation.borrow_mut().get_or_insert(violation);
            executor().stop();
        }
    }

    /// A new process.
    pub(crate) fn process(&self, name: &str) -> Process {
        let mut processes = self.processes.borrow_mut();
        let number = processes.len() as u32;
        processes.push(format!("{name}-{number}"));
        Process(number)
    }

    pub(crate) fn kill(&self, process: Process) {
        self.checks.borrow_mut().dead.insert(process);
        executor().kill(process);
    }

    pub(crate) fn is_dead(&self, process: Process) -> bool {
        self.checks.borrow().dead.contains(&process)
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(executor().true_millis())
    }

    fn is_done(&self) -> bool {
        self.senders.get() == 0 && self.checks.borrow().unfinished().is_none()
    }

    fn unfinished(&self) -> String {
        let unfinished = self.checks.borrow().unfinished();
        unfinished.unwrap_or_else(|| "a sender never got a 202".into())
    }
}

/// Sends a webhook until it is accepted, and now and then again.
async fn sender(source: &'static str, number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    let id = format!("{source}-{number}");
    let large = world().strikes(Fault::LargePayload);
    if world().strikes(Fault::WebhookTwice) {
        executor().spawn(WORLD, {
            let id = id.clone();
            async move {
                deliver(source, &id, large, false).await;
            }
        });
    }
    while !deliver(source, &id, large, false).await {
        sleep(Duration::from_millis(roll(|dice| dice.between(500, 30_000)))).await;
    }
    world().senders.set(world().senders.get() - 1);
    if world().strikes(Fault::WebhookAgain) {
        sleep(Duration::from_secs(roll(|dice| dice.between(0, 300)))).await;
        let other = world().strikes(Fault::OtherBody);
        deliver(source, &id, large, other).await;
    }
}

/// Sends it once; says whether it was accepted.
async fn deliver(source: &str, id: &str, large: bool, other: bool) -> bool {
    let body = match (large, other) {
        (true, _) => format!("{{\"noise\":\"{}\"}}", String::from_utf8_lossy(&kit().noise)),
        (false, true) => "{\"n\":2}".to_owned(),
        (false, false) => "{\"n\":1}".to_owned(),
    };
    let headers = kit().signed(source, id, body.as_bytes(), world().now());
    let request = post(&format!("/webhook/{source}"), "", &headers, body);
    let Some(response) = functions::request(request).await else { return false };
    if response.status_code != 202 {
        world().tell(|| format!("answered {}", response.status_code));
        return false;
    }
    let token = answer(&response)["executionToken"].as_str().unwrap_or_default().to_owned();
    world().tell(|| format!("202 {token}"));
    let now = world().now();
    world().check(|checks| checks.acknowledged(id, &token, now));
    true
}

fn post(
    path: &str,
    query: &str,
    headers: &[(String, String)],
    body: String,
) -> ApiGatewayV2httpRequest {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).expect("a header's name");
        map.append(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    let mut request = ApiGatewayV2httpRequest::default();
    request.raw_path = Some(path.to_owned());
    request.raw_query_string = (!query.is_empty()).then(|| query.to_owned());
    request.headers = map;
    request.request_context.http.method = Method::POST;
    request.request_context.request_id = Some("request".into());
    request.body = Some(body);
    request
}

fn answer(response: &ApiGatewayV2httpResponse) -> Value {
    match &response.body {
        Some(Body::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// Calls back, as whoever was asked does.
pub(crate) async fn callback(token: String, execution: ExecutionId) {
    let fates = [Fault::CallbackNever, Fault::CallbackEarly, Fault::CallbackLate];
    let fate = fates.into_iter().find(|fault| world().strikes(*fault));
    let delay = match fate {
        Some(Fault::CallbackNever) => return,
        Some(Fault::CallbackEarly) => roll(|dice| dice.between(0, 100)),
        Some(_) => roll(|dice| dice.between(1_795_000, 1_805_000)),
        None => roll(|dice| dice.between(100, 240_000)),
    };
    sleep(Duration::from_millis(delay)).await;
    let mut again = world().strikes(Fault::CallbackTwice);
    for _ in 0..12 {
        let path = format!("/callbacks/{token}/success");
        let response = functions::request(post(&path, "", &[], "{\"yes\":true}".into())).await;
        let status = response.map_or(0, |response| response.status_code);
        world().tell(|| format!("called back: {status}"));
        if status == 200 && !world().strikes(Fault::CallbackLostReply) {
            let now = world().now();
            world().check(|checks| checks.fact_told(execution.as_str(), now));
            if !std::mem::take(&mut again) {
                return;
            }
        }
        if status == 409 || status == 404 {
            return;
        }
        sleep(Duration::from_millis(roll(|dice| dice.between(100, 20_000)))).await;
    }
}

/// Cancels some executions, and redrives some that have failed.
async fn operator() {
    loop {
        sleep(Duration::from_secs(roll(|dice| dice.between(5, 60)))).await;
        if world().faults.have_ceased() {
            return;
        }
        let executions = world().checks.borrow().executions();
        for execution in executions {
            if !world().checks.borrow().has_ended(&execution) && world().strikes(Fault::Cancelled) {
                operate(&execution, "cancel").await;
            }
        }
        let failed = world().checks.borrow().failed();
        for execution in failed {
            if world().strikes(Fault::Redriven) {
                operate(&execution, "redrive").await;
            }
        }
    }
}

async fn operate(execution: &str, what: &str) {
    for _ in 0..200 {
        let path = format!("/executions/{execution}/{what}");
        let response = functions::operate(post(&path, "", &[], String::new())).await;
        let status = response.map_or(0, |response| response.status_code);
        world().tell(|| format!("{what} {execution}: {status}"));
        // One that was redriven before is owed again too.
        if status == 200 || (status == 409 && what == "redrive") {
            let now = world().now();
            world().check(|checks| checks.fact_told(execution, now));
        }
        if status != 0 && status != 503 {
            return;
        }
        sleep(Duration::from_millis(roll(|dice| dice.between(1_000, 20_000)))).await;
    }
}

/// Looks for what is due, as soon as something may be.
async fn sweep() {
    loop {
        let first = world().items.borrow().first_due().and_then(Timestamp::parse);
        let ahead = first.map_or(Duration::from_secs(3600), |due| due.since(world().now()));
        // Clocks may be ahead by two seconds.
        let wait = ahead.saturating_sub(Duration::from_secs(2)).max(Duration::from_secs(1));
        let news = async { world().due.notified().await };
        if wait > Duration::from_secs(1) {
            timeout(wait, news).await;
            sleep(Duration::from_millis(500)).await;
            if !world()
                .items
                .borrow()
                .first_due()
                .and_then(Timestamp::parse)
                .is_some_and(|due| due <= world().now() + Duration::from_secs(2))
            {
                continue;
            }
        } else {
            sleep(wait).await;
        }
        if world().strikes(Fault::SweepOutage) {
            sleep(Duration::from_secs(roll(|dice| dice.between(1, 180)))).await;
        }
        let due = functions::sweep().await;
        if due.is_empty() || world().strikes(Fault::InvocationLost) {
            continue;
        }
        if world().strikes(Fault::InvocationRepeated) {
            let due = due.clone();
            executor().spawn(WORLD, async move {
                sleep(Duration::from_millis(roll(|dice| dice.between(0, 5_000)))).await;
                functions::fire(due).await;
            });
        }
        executor().spawn(WORLD, functions::fire(due));
    }
}

/// Kills processes at whatever await they stand.
async fn kills() {
    loop {
        sleep(Duration::from_millis(roll(|dice| dice.between(100, 10_000)))).await;
        if world().faults.have_ceased() {
            return;
        }
        if world().strikes(Fault::CrashAnywhere)
            && let Some(process) = world().functions.busy()
        {
            world().tell(|| format!("process {} is killed", process.0));
            world().kill(process);
        }
    }
}

/// Ends the world: first what goes wrong, then, when all is done, the rest.
async fn end() {
    sleep(Duration::from_secs(roll(|dice| dice.between(FAULTY.0, FAULTY.1)))).await;
    world().tell(|| "nothing goes wrong any more".into());
    world().faults.cease();
    let began = executor().now();
    while executor().now() < began + PATIENCE {
        sleep(Duration::from_secs(30)).await;
        if world().is_done() {
            break;
        }
    }
    executor().stop();
}
