use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { bulk_bytes: 100, request_bytes: 1000, words: 50 };

/// What came of an input: a line for each request, and the error at the end, if any.
fn decode(pieces: &[&[u8]]) -> Vec<String> {
    let mut decoder = Decoder::new(LIMITS);
    let mut input = BytesMut::new();
    let mut seen = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Frame::Command(args))) => {
                    let words: Vec<_> = args.to_words().iter().map(|word| word.escape_ascii().to_string()).collect();
                    seen.push(words.join(" "));
                }
                Ok(Some(Frame::TooLarge(what))) => seen.push(format!("too large: {what:?}")),
                Err(error) => {
                    seen.push(format!("error: {error}"));
                    return seen;
                }
            }
        }
        assert!(input.len() <= LIMITS.request_bytes + piece.len() + MAX_LINE_BYTES, "the input is kept");
    }
    seen
}

fn check(input: &[u8], expected: &[&str]) {
    assert_eq!(decode(&[input]), expected, "{}", input.escape_ascii());
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(&bytes), expected, "byte by byte: {}", input.escape_ascii());
}

fn request(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[test]
fn requests_and_lines() {
    check(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n", &["GET a", "PING"]);
    check(b"PING\r\n\r\n  \nECHO 'a b'\n*1\r\n$0\r\n\r\n", &["PING", "ECHO a b", ""]);
    check(b"*0\r\n*-1\r\nPING\r\n", &["PING"]);
    check(b"*1\r\n$2\r\n\r\n\r\n", &["\\r\\n"]);
}

#[test]
fn protocol_errors_are_those_of_redis() {
    check(b"*a\r\n", &["error: invalid multibulk length"]);
    check(b"*01\r\n", &["error: invalid multibulk length"]);
    check(b"*51\r\n", &["error: invalid multibulk length"]);
    check(b"*1\rx$4\r\nPING\r\n", &["error: invalid multibulk length"]);
    check(b"*1\r\n*1\r\n", &["error: expected '$', got '*'"]);
    check(b"*1\r\n+PING\r\n", &["error: expected '$', got '+'"]);
    check(b"*1\r\n$-1\r\n", &["error: invalid bulk length"]);
    check(b"*1\r\n$x\r\n", &["error: invalid bulk length"]);
    check(b"*1\r\n$536870913\r\n", &["error: invalid bulk length"]);
    check(b"PING\r\necho \"a\r\n", &["PING", "error: unbalanced quotes in request"]);
}

#[test]
fn endless_lines_end() {
    let long = |start: &[u8]| [start, &[b'1'; MAX_LINE_BYTES + 2]].concat();
    assert_eq!(decode(&[&long(b"*")]), ["error: too big mbulk count string"]);
    assert_eq!(decode(&[&long(b"*1\r\n$")]), ["error: too big bulk count string"]);
    assert_eq!(decode(&[&long(b"a")]), ["error: too big inline request"]);
}

#[test]
fn too_large_requests_are_skipped_and_the_next_one_is_read() {
    let long = vec![b'x'; 101];
    let input = [request(&[b"SET".to_vec(), long, b"v".to_vec()]), request(&[b"PING".to_vec()])].concat();
    check(&input, &["too large: Bulk(101)", "PING"]);
    let many = vec![vec![b'x'; 100]; 20];
    check(&[request(&many), b"PING\r\n".to_vec()].concat(), &["too large: Request", "PING"]);
}

#[test]
fn a_large_value_in_small_pieces_is_walked_once() {
    let limits = Limits { bulk_bytes: 8 << 20, request_bytes: 16 << 20, words: 3 };
    let mut decoder = Decoder::new(limits);
    let mut input = BytesMut::new();
    let bytes = request(&[b"SET".to_vec(), b"k".to_vec(), vec![b'\r'; 8 << 20]]);
    // A walk that began anew for each piece would need minutes.
    let mut found = None;
    for piece in bytes.chunks(64) {
        input.extend_from_slice(piece);
        found = decoder.next(&mut input).unwrap();
    }
    assert!(matches!(found, Some(Frame::Command(args)) if args.word(2).len() == 8 << 20));
}

/// Bytes that are nearly RESP, so that the walk gets far.
fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), 1..4).prop_map(|words| request(&words)),
        1 => "[*$][0-9a-]{0,3}\r\n".prop_map(String::into_bytes),
        1 => "[a-z \"'\\\\x]{0,10}\r?\n".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(request(&[vec![b'x'; 120]])),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_any_input_gives_the_same(input in nearly_resp(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&input[from..cut]);
            from = cut;
        }
        pieces.push(&input[from..]);
        prop_assert_eq!(decode(&pieces), decode(&[&input]));
    }

    #[test]
    fn commands_come_out_as_they_went_in(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..10)) {
        let expected: Vec<String> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
        prop_assert_eq!(decode(&[&request(&words)]), vec![expected.join(" ")]);
    }
}
