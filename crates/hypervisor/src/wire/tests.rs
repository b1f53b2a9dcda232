//! Lines come back as they were; greetings as Firecracker's are taken and nothing else; no bytes make a panic.

use proptest::prelude::*;

use super::*;

#[test]
fn messages_come_back() {
    let offer = Offer {
        background: true,
        bundle: [1, 0, 3],
        value: 4,
        tier: WireTier::Replayed,
        stake: 5,
        feeds: Some(Hex32([7; 32])),
    };
    let sayings = [
        Saying::Hello,
        Saying::Seal { id: Hex32([1; 32]), epoch: u64::MAX },
        Saying::Open { offer, blind: Hex32([2; 32]) },
        Saying::Answer { job: Hex32([3; 32]), claim: "00ff".to_owned() },
    ];
    for message in sayings {
        assert_eq!(saying(&line(&message)), Ok(message));
    }
    let sampling = Sampling { temperature_milli: 800, max_tokens: 32 };
    let request = Event::Request {
        job: Hex32([3; 32]),
        number: 1,
        prompt_ids: vec![1, 2],
        sampling,
        nonce: Hex32([9; 32]),
    };
    assert_eq!(event(&line(&request)), Ok(request));
    assert_eq!(line(&Saying::Hello), b"{\"say\":\"hello\"}\n");
}

#[test]
fn greetings() {
    assert_eq!(greeting(b"CONNECT 5252\n"), Ok(5252));
    assert_eq!(greeted(5252), "OK 5252\n");
    let wrong: [&[u8]; 8] = [
        b"",
        b"CONNECT \n",
        b"CONNECT -1\n",
        b"CONNECT +1\n",
        b"connect 5252\n",
        b"CONNECT 4294967296\n",
        b"CONNECT 1 2\n",
        b"\xff",
    ];
    for line in wrong {
        assert_eq!(greeting(line), Err(WireError::Greeting), "{line:?}");
    }
}

#[test]
fn hostile_lines_are_refused() {
    let long = vec![b' '; LINE_BYTES_MAX + 1];
    assert_eq!(saying(&long), Err(WireError::TooLong(LINE_BYTES_MAX)));
    let lines: [&[u8]; 7] = [
        b"{}",
        b"{\"say\":\"nothing\"}",
        b"{\"say\":\"seal\",\"id\":\"00\",\"epoch\":1}",
        b"{\"say\":\"seal\",\"id\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"epoch\":-1}",
        b"{\"say\":\"seal\",\"id\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"epoch\":1,\"more\":1}",
        b"{\"say\":\"hello\"} {\"say\":\"hello\"}",
        b"[[[[[[[[[[[[[[[[",
    ];
    for line in lines {
        assert!(matches!(saying(line), Err(WireError::Message(_))), "{:?}", String::from_utf8_lossy(line));
    }
    let deep = vec![b'['; 100_000];
    assert!(matches!(saying(&deep), Err(WireError::Message(_))));
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,80}") {
        let _ = (saying(&bytes), event(&bytes), greeting(&bytes));
        let _ = saying(format!("{{\"say\":\"{text}\"}}").as_bytes());
    }
}
