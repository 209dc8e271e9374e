// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {DstackApp} from "../../src/DstackApp.sol";
import {DstackKms} from "../../src/DstackKms.sol";
import {IAppAuth} from "../../src/interfaces/IAppAuth.sol";
import {IAppInitializer} from "../../src/interfaces/IAppInitializer.sol";
import {IVm} from "./IVm.sol";

/// @title What all tests share: comparisons, people, proxies, boot requests
abstract contract TestBase {
    IVm internal constant VM = IVm(address(uint160(uint256(keccak256("hevm cheat code")))));
    address internal constant OWNER = address(0xA11CE);
    address internal constant STRANGER = address(0xBAD);
    address internal constant HEIR = address(0x4E14);
    bytes32 internal constant IMPLEMENTATION_SLOT = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);

    error OwnableUnauthorizedAccount(address account);

    function newKms(address appImplementation) internal returns (DstackKms) {
        bytes memory call = abi.encodeCall(DstackKms.initialize, (OWNER, appImplementation));
        return DstackKms(address(new ERC1967Proxy(address(new DstackKms()), call)));
    }

    function newApp(bool requireTcb, bool anyDevice, bytes32 deviceId, bytes32 composeHash)
        internal
        returns (DstackApp)
    {
        bytes memory call = abi.encodeCall(
            IAppInitializer.initialize, (OWNER, false, requireTcb, anyDevice, deviceId, composeHash)
        );
        return DstackApp(address(new ERC1967Proxy(address(new DstackApp()), call)));
    }

    /// A request of a fully patched platform; the rest is zero.
    function bootInfo() internal pure returns (IAppAuth.AppBootInfo memory info) {
        info.tcbStatus = "UpToDate";
    }

    function assertDecision(bool allowed, string memory reason, bool expected, string memory expectedReason)
        internal
        pure
    {
        check(allowed == expected, expected ? "was denied" : "was allowed");
        assertEq(reason, expectedReason);
    }

    /// The call that follows changes policy and says so.
    function expectAudit(address emitter, address actor, string memory policy, bytes32 value, bool enabled) internal {
        VM.expectEmit(emitter);
        emit PolicyChanged(actor, keccak256(bytes(policy)), value, enabled);
    }

    function expectNotOwner(address caller) internal {
        VM.expectRevert(abi.encodeWithSelector(OwnableUnauthorizedAccount.selector, caller));
    }

    function expectText(string memory text) internal {
        VM.expectRevert(abi.encodeWithSignature("Error(string)", text));
    }

    function check(bool holds, string memory what) internal pure {
        require(holds, what);
    }

    function assertEq(address a, address b) internal pure {
        check(a == b, "addresses differ");
    }

    function assertEq(bytes32 a, bytes32 b) internal pure {
        check(a == b, "words differ");
    }

    function assertEq(bytes memory a, bytes memory b) internal pure {
        check(keccak256(a) == keccak256(b), "bytes differ");
    }

    function assertEq(string memory a, string memory b) internal pure {
        check(keccak256(bytes(a)) == keccak256(bytes(b)), string.concat("got ", a, ", expected ", b));
    }

    function word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }

    /// Where a mapping keeps an element.
    function elementSlot(bytes32 key, uint256 slot) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, slot));
    }
}
