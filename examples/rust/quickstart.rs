// nibble from Rust, through the C interface: loads a model and continues a sentence.
//   rustc -O quickstart.rs -L PREFIX/lib -C link-arg=-Wl,-rpath,PREFIX/lib && ./quickstart MODEL "It was a"
use std::ffi::{c_char, c_void, CStr, CString};
use std::process::ExitCode;
use std::ptr::{null, null_mut};

// A handful of nibble.h's declarations; handles are opaque.
#[link(name = "nibble")]
extern "C" {
    fn nbl_last_error() -> *const c_char;
    fn nbl_runtime_create(options: *const c_void, out: *mut *mut c_void) -> i32;
    fn nbl_runtime_destroy(runtime: *mut c_void);
    fn nbl_model_open(runtime: *mut c_void, path: *const c_char, options: *const c_void, out: *mut *mut c_void) -> i32;
    fn nbl_model_destroy(model: *mut c_void);
    fn nbl_tokenizer_from_model(model: *mut c_void, out: *mut *mut c_void) -> i32;
    fn nbl_tokenizer_encode(tokenizer: *mut c_void, text: *const c_char, size: usize, flags: u32, out: *mut *mut c_void) -> i32;
    fn nbl_tokenizer_destroy(tokenizer: *mut c_void);
    fn nbl_session_create(model: *mut c_void, options: *const c_void, out: *mut *mut c_void) -> i32;
    fn nbl_session_generate(session: *mut c_void, ids: *const i32, count: i64, options: *const c_void, out: *mut *mut c_void) -> i32;
    fn nbl_session_destroy(session: *mut c_void);
    fn nbl_buffer_ids(buffer: *const c_void) -> *const i32;
    fn nbl_buffer_text(buffer: *const c_void) -> *const c_char;
    fn nbl_buffer_size(buffer: *const c_void) -> usize;
    fn nbl_buffer_destroy(buffer: *mut c_void);
}

/// A handle that is destroyed with its owner.
struct Handle(*mut c_void, unsafe extern "C" fn(*mut c_void));

impl Drop for Handle {
    fn drop(&mut self) {
        unsafe { (self.1)(self.0) }
    }
}

/// Calls `make` with the place for the handle; a failure is the library's own sentence.
fn make(destroy: unsafe extern "C" fn(*mut c_void), make: impl FnOnce(*mut *mut c_void) -> i32) -> Result<Handle, String> {
    let mut raw = null_mut();
    match make(&mut raw) {
        0 => Ok(Handle(raw, destroy)),
        _ => Err(unsafe { CStr::from_ptr(nbl_last_error()) }.to_string_lossy().into_owned()),
    }
}

fn run(path: &str, prompt: &str) -> Result<String, String> {
    let path = CString::new(path).map_err(|e| e.to_string())?;
    unsafe {
        let runtime = make(nbl_runtime_destroy, |out| nbl_runtime_create(null(), out))?;
        let model = make(nbl_model_destroy, |out| nbl_model_open(runtime.0, path.as_ptr(), null(), out))?;
        let tokenizer = make(nbl_tokenizer_destroy, |out| nbl_tokenizer_from_model(model.0, out))?;
        let ids = make(nbl_buffer_destroy, |out| nbl_tokenizer_encode(tokenizer.0, prompt.as_ptr().cast(), prompt.len(), 0, out))?;
        let session = make(nbl_session_destroy, |out| nbl_session_create(model.0, null(), out))?;
        let count = (nbl_buffer_size(ids.0) / 4) as i64;
        let result = make(nbl_buffer_destroy, |out| nbl_session_generate(session.0, nbl_buffer_ids(ids.0), count, null(), out))?;
        Ok(CStr::from_ptr(nbl_buffer_text(result.0)).to_string_lossy().into_owned())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 3 {
        eprintln!("usage: quickstart MODEL PROMPT");
        return ExitCode::from(2);
    }
    match run(&arguments[1], &arguments[2]) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
