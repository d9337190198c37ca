//! What a C program can get wrong: each is an error in words or nothing at all, never undefined.

use super::*;
use std::mem::MaybeUninit;

fn text(error: &TwinlineError) -> String {
    let bytes: Vec<u8> = error.text.iter().map(|&byte| byte as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).expect("it is terminated");
    text.to_str().expect("it is UTF-8").to_owned()
}

fn initialised() -> TwinlineOptions {
    let mut options = MaybeUninit::uninit();
    // SAFETY: there is room for options, which are all written.
    unsafe {
        twinline_options_init(options.as_mut_ptr());
        options.assume_init()
    }
}

/// What attaching with these options says.
fn refused(change: impl FnOnce(&mut TwinlineOptions)) -> String {
    let mut options = initialised();
    change(&mut options);
    let mut error = TwinlineError { text: [1; 512] };
    // SAFETY: everything that is handed over lives here.
    let reader = unsafe { twinline_attach(c"/nowhere".as_ptr(), 1, &options, &mut error) };
    assert!(reader.is_null());
    text(&error)
}

#[test]
fn options_that_cannot_be_are_refused_in_words() {
    assert!(refused(|_| ()).contains("is a listener running"));
    assert!(refused(|options| options.version = 99).contains("version 99"));
    assert!(refused(|options| options.start = 9).contains("no start 9"));
    assert!(refused(|options| options.overrun = 9).contains("no overrun policy 9"));
    assert!(refused(|options| options.wait = 9).contains("no way to wait 9"));
    assert!(refused(|options| options.books = 9).contains("no choice of books 9"));
    assert!(refused(|options| options.start = 3).contains("needs a position"));
    let wrong = |options: &mut TwinlineOptions| (options.start, options.position) = (3, c"1:2".as_ptr());
    assert!(refused(wrong).contains("no position"));
    assert!(refused(|options| options.name = c"\xff".as_ptr()).contains("UTF-8"));
    let symbols = [c"A".as_ptr(), ptr::null()];
    let with_null =
        |options: &mut TwinlineOptions| (options.symbols, options.symbol_count) = (symbols.as_ptr(), 2);
    assert!(refused(with_null).contains("a symbol is NULL"));
}

#[test]
fn null_is_no_reader_and_harms_nobody() {
    let mut error = TwinlineError { text: [1; 512] };
    // SAFETY: null is allowed everywhere here.
    unsafe {
        assert_eq!(twinline_poll(ptr::null_mut(), ptr::null_mut(), &mut error), -1);
        assert_eq!(text(&error), "no reader is given");
        assert_eq!(
            twinline_poll(ptr::null_mut(), ptr::null_mut(), ptr::null_mut()),
            -1
        );
        assert!(twinline_attach(ptr::null(), 1, ptr::null(), &mut error).is_null());
        assert_eq!(text(&error), "no directory is given");
        assert!(twinline_symbol(ptr::null_mut(), 1).is_null());
        assert_eq!(twinline_instrument(ptr::null(), ptr::null()), 0);
        assert_eq!(twinline_best_of(ptr::null(), 1, ptr::null_mut()), 0);
        assert_eq!(twinline_depth(ptr::null(), 1, 1, ptr::null_mut(), 5), 0);
        assert_eq!(twinline_position(ptr::null(), ptr::null_mut(), 0), 0);
        twinline_close(ptr::null_mut());
    }
}

#[test]
fn a_panic_comes_out_as_an_error() {
    let mut error = TwinlineError { text: [1; 512] };
    // SAFETY: the error lives here.
    let done = unsafe { guarded(&mut error, || -> Result<(), String> { panic!("on purpose") }) };
    assert!(done.is_none() && text(&error).contains("bug"));
}

#[test]
fn an_error_that_is_too_long_is_cut_off_and_terminated() {
    let mut error = TwinlineError { text: [1; 512] };
    error.set(&"x".repeat(1000));
    assert_eq!(text(&error).len(), 511);
}
