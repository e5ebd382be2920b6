//! A stand-in for everything that the cases call: it prints what it gets, and answers as its path asks for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// How long a caller may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers there from now on.
pub(crate) fn start(address: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    std::thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            std::thread::spawn(move || serve(caller));
        }
    });
    Ok(())
}

/// One call after the other, until the caller goes.
fn serve(caller: TcpStream) -> std::io::Result<()> {
    caller.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(caller.try_clone()?);
    let mut writer = caller;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body)?;
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        println!("{} {asked}", line.trim_end());
        let (status, answer) = answer(&path, &asked);
        let answer = answer.to_string();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
        write!(writer, "{head}content-length: {}\r\n\r\n{answer}", answer.len())?;
    }
}

/// What a path answers. Whatever is called `broken` is sold out.
pub(crate) fn answer(path: &str, asked: &Value) -> (&'static str, Value) {
    match path {
        "/price" => {
            let net = asked["amount_due"].as_u64().unwrap_or(0);
            ("200 OK", json!({ "net": net, "total": net + net / 5 }))
        }
        "/reserve" if asked["sku"] == "broken" => ("409 Conflict", json!({ "error": "sold out" })),
        "/reserve" => ("200 OK", json!({ "sku": asked["sku"] })),
        _ => ("200 OK", json!({ "ok": true })),
    }
}
