//! Programs that try to get out. They need python3.
use super::*;
use std::net::TcpListener;

/// Patient: on a busy machine Python takes seconds to start, and what is tested here is not speed.
fn sandbox() -> Sandbox {
    Sandbox::open(Limits { wall: Duration::from_secs(120), ..Limits::default() }, true).expect("python3")
}

fn stopped_after(seconds: u64) -> Sandbox {
    let limits = Limits { wall: Duration::from_secs(seconds), ..Limits::default() };
    Sandbox { limits, ..sandbox() }
}

/// One whose programs keep the network: shows that a program fails for want of the network, and not by mistake.
fn with_network() -> Sandbox {
    Sandbox { cut_off: false, ..sandbox() }
}

#[test]
fn reaching_the_end_passes_and_nothing_else() {
    let sandbox = sandbox();
    for (program, verdict) in [
        ("assert sorted([2, 1]) == [1, 2]", Verdict::Passed),
        ("assert 1 == 2", Verdict::Failed),
        ("def f(:", Verdict::Failed),
        ("import sys; sys.exit(0)", Verdict::Failed),
        ("import os; os._exit(0)", Verdict::Failed),
        ("import os; os.kill(os.getpid(), 9)", Verdict::Failed),
    ] {
        assert_eq!(sandbox.run(program).unwrap(), verdict, "{program}");
    }
}

#[test]
fn a_program_that_loops_is_stopped_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    // A child that is not killed with the group says so.
    let program = format!(
        "import os, time\ntry:\n    child = os.fork()\nexcept OSError:\n    child = 1\nif child == 0:\n    time.sleep(3)\n    open({:?}, 'w').close()\nwhile True: pass",
        alive.display().to_string()
    );
    assert_eq!(stopped_after(1).run(&program).unwrap(), Verdict::TimedOut);
    std::thread::sleep(Duration::from_secs(4));
    assert!(!alive.exists(), "a child outlived its program");
}

#[test]
fn a_program_that_waits_or_ignores_signals_is_stopped() {
    let stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)";
    assert_eq!(stopped_after(2).run(stubborn).unwrap(), Verdict::TimedOut);
    assert_eq!(sandbox().run("input()").unwrap(), Verdict::Failed, "there is nothing to read");
}

#[test]
fn two_gigabytes_are_too_much_and_a_hundred_megabytes_are_not() {
    // Address space only: filling two gigabytes takes longer than the wall time on a busy machine.
    let program = "import mmap; x = mmap.mmap(-1, 2 << 30)";
    let sandbox = sandbox();
    assert_eq!(sandbox.run(program).unwrap(), Verdict::Failed);
    assert_eq!(sandbox.run("x = bytearray(100 << 20)").unwrap(), Verdict::Passed);
    let large = Sandbox { limits: Limits { memory: 4 << 30, ..sandbox.limits }, ..sandbox };
    assert_eq!(large.run(program).unwrap(), Verdict::Passed, "it is this limit that stopped it");
}

#[test]
fn the_loopback_of_this_machine_is_out_of_reach() {
    let sandbox = sandbox();
    if !sandbox.cut_off() {
        eprintln!("NOT TESTED: this kernel refuses network namespaces");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let program = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 2).close()");
    assert_eq!(sandbox.run(&program).unwrap(), Verdict::Failed);
    assert_eq!(with_network().run(&program).unwrap(), Verdict::Passed, "there is somebody listening");
}

#[test]
fn a_program_finds_an_empty_folder_and_an_empty_environment() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run("import os\nassert os.listdir() == []").unwrap(), Verdict::Passed);
    let known = "import os\nassert set(os.environ) <= {'PATH', 'HOME', 'LANG', 'LC_CTYPE'}, os.environ";
    assert_eq!(sandbox.run(known).unwrap(), Verdict::Passed);
    assert_eq!(sandbox.run("open('large', 'wb').write(b'x' * (64 << 20))").unwrap(), Verdict::Failed);
    assert_eq!(
        sandbox.run("while True: print('x' * 1000000) if __import__('time').process_time() < 0.3 else exit(1)").unwrap(),
        Verdict::Failed
    );
}

#[test]
fn nothing_is_left_behind() {
    let ours = || {
        let prefix = format!("infill-eval-{}-", std::process::id());
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix)).map(|e| e.file_name()).collect::<Vec<_>>()
    };
    let room = Room::new().unwrap();
    let name = room.0.file_name().unwrap().to_owned();
    assert!(ours().contains(&name));
    drop(room);
    assert!(!ours().contains(&name));
}

#[test]
fn a_missing_python_is_named_with_the_remedy() {
    let error = python("python-that-is-not-there").unwrap_err().to_string();
    assert!(error.contains("install Python 3") && error.contains("--no-run"), "{error}");
}
