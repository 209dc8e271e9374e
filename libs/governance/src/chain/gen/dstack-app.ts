// Made by contracts/scripts/generate.ts; do not edit.
export const dstackAppAbi = [
 {
  "type": "constructor",
  "inputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "UPGRADE_INTERFACE_VERSION",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "string",
    "internalType": "string"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "acceptOwnership",
  "inputs": [],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "addComposeHash",
  "inputs": [
   {
    "name": "composeHash",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "addDevice",
  "inputs": [
   {
    "name": "deviceId",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "allowAnyDevice",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "allowedComposeHashes",
  "inputs": [
   {
    "name": "composeHash",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [
   {
    "name": "",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "allowedDeviceIds",
  "inputs": [
   {
    "name": "deviceId",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [
   {
    "name": "",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "disableUpgrades",
  "inputs": [],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "initialize",
  "inputs": [
   {
    "name": "initialOwner",
    "type": "address",
    "internalType": "address"
   },
   {
    "name": "disableUpgrades_",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "allowAnyDevice_",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "initialDeviceId",
    "type": "bytes32",
    "internalType": "bytes32"
   },
   {
    "name": "initialComposeHash",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "initialize",
  "inputs": [
   {
    "name": "initialOwner",
    "type": "address",
    "internalType": "address"
   },
   {
    "name": "disableUpgrades_",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "requireTcbUpToDate_",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "allowAnyDevice_",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "initialDeviceId",
    "type": "bytes32",
    "internalType": "bytes32"
   },
   {
    "name": "initialComposeHash",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "isAppAllowed",
  "inputs": [
   {
    "name": "bootInfo",
    "type": "tuple",
    "internalType": "struct IAppAuth.AppBootInfo",
    "components": [
     {
      "name": "appId",
      "type": "address",
      "internalType": "address"
     },
     {
      "name": "composeHash",
      "type": "bytes32",
      "internalType": "bytes32"
     },
     {
      "name": "instanceId",
      "type": "address",
      "internalType": "address"
     },
     {
      "name": "deviceId",
      "type": "bytes32",
      "internalType": "bytes32"
     },
     {
      "name": "mrAggregated",
      "type": "bytes32",
      "internalType": "bytes32"
     },
     {
      "name": "mrSystem",
      "type": "bytes32",
      "internalType": "bytes32"
     },
     {
      "name": "osImageHash",
      "type": "bytes32",
      "internalType": "bytes32"
     },
     {
      "name": "tcbStatus",
      "type": "string",
      "internalType": "string"
     },
     {
      "name": "advisoryIds",
      "type": "string[]",
      "internalType": "string[]"
     }
    ]
   }
  ],
  "outputs": [
   {
    "name": "isAllowed",
    "type": "bool",
    "internalType": "bool"
   },
   {
    "name": "reason",
    "type": "string",
    "internalType": "string"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "owner",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "address",
    "internalType": "address"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "pendingOwner",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "address",
    "internalType": "address"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "proxiableUUID",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "removeComposeHash",
  "inputs": [
   {
    "name": "composeHash",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "removeDevice",
  "inputs": [
   {
    "name": "deviceId",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "renounceOwnership",
  "inputs": [],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "requireTcbUpToDate",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "setAllowAnyDevice",
  "inputs": [
   {
    "name": "allowAny",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "setRequireTcbUpToDate",
  "inputs": [
   {
    "name": "requireUpToDate",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "supportsInterface",
  "inputs": [
   {
    "name": "interfaceId",
    "type": "bytes4",
    "internalType": "bytes4"
   }
  ],
  "outputs": [
   {
    "name": "",
    "type": "bool",
    "internalType": "bool"
   }
  ],
  "stateMutability": "view"
 },
 {
  "type": "function",
  "name": "transferOwnership",
  "inputs": [
   {
    "name": "newOwner",
    "type": "address",
    "internalType": "address"
   }
  ],
  "outputs": [],
  "stateMutability": "nonpayable"
 },
 {
  "type": "function",
  "name": "upgradeToAndCall",
  "inputs": [
   {
    "name": "newImplementation",
    "type": "address",
    "internalType": "address"
   },
   {
    "name": "data",
    "type": "bytes",
    "internalType": "bytes"
   }
  ],
  "outputs": [],
  "stateMutability": "payable"
 },
 {
  "type": "function",
  "name": "version",
  "inputs": [],
  "outputs": [
   {
    "name": "",
    "type": "uint256",
    "internalType": "uint256"
   }
  ],
  "stateMutability": "pure"
 },
 {
  "type": "event",
  "name": "AllowAnyDeviceSet",
  "inputs": [
   {
    "name": "allowAny",
    "type": "bool",
    "indexed": false,
    "internalType": "bool"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "ComposeHashAdded",
  "inputs": [
   {
    "name": "composeHash",
    "type": "bytes32",
    "indexed": false,
    "internalType": "bytes32"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "ComposeHashRemoved",
  "inputs": [
   {
    "name": "composeHash",
    "type": "bytes32",
    "indexed": false,
    "internalType": "bytes32"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "DeviceAdded",
  "inputs": [
   {
    "name": "deviceId",
    "type": "bytes32",
    "indexed": false,
    "internalType": "bytes32"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "DeviceRemoved",
  "inputs": [
   {
    "name": "deviceId",
    "type": "bytes32",
    "indexed": false,
    "internalType": "bytes32"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "Initialized",
  "inputs": [
   {
    "name": "version",
    "type": "uint64",
    "indexed": false,
    "internalType": "uint64"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "OwnershipTransferStarted",
  "inputs": [
   {
    "name": "previousOwner",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   },
   {
    "name": "newOwner",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "OwnershipTransferred",
  "inputs": [
   {
    "name": "previousOwner",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   },
   {
    "name": "newOwner",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "PolicyChanged",
  "inputs": [
   {
    "name": "actor",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   },
   {
    "name": "policy",
    "type": "bytes32",
    "indexed": true,
    "internalType": "bytes32"
   },
   {
    "name": "value",
    "type": "bytes32",
    "indexed": true,
    "internalType": "bytes32"
   },
   {
    "name": "enabled",
    "type": "bool",
    "indexed": false,
    "internalType": "bool"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "RequireTcbUpToDateSet",
  "inputs": [
   {
    "name": "requireUpToDate",
    "type": "bool",
    "indexed": false,
    "internalType": "bool"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "Upgraded",
  "inputs": [
   {
    "name": "implementation",
    "type": "address",
    "indexed": true,
    "internalType": "address"
   }
  ],
  "anonymous": false
 },
 {
  "type": "event",
  "name": "UpgradesDisabled",
  "inputs": [],
  "anonymous": false
 },
 {
  "type": "error",
  "name": "AddressEmptyCode",
  "inputs": [
   {
    "name": "target",
    "type": "address",
    "internalType": "address"
   }
  ]
 },
 {
  "type": "error",
  "name": "ERC1967InvalidImplementation",
  "inputs": [
   {
    "name": "implementation",
    "type": "address",
    "internalType": "address"
   }
  ]
 },
 {
  "type": "error",
  "name": "ERC1967NonPayable",
  "inputs": []
 },
 {
  "type": "error",
  "name": "FailedCall",
  "inputs": []
 },
 {
  "type": "error",
  "name": "InvalidInitialization",
  "inputs": []
 },
 {
  "type": "error",
  "name": "NotInitializing",
  "inputs": []
 },
 {
  "type": "error",
  "name": "OwnableInvalidOwner",
  "inputs": [
   {
    "name": "owner",
    "type": "address",
    "internalType": "address"
   }
  ]
 },
 {
  "type": "error",
  "name": "OwnableUnauthorizedAccount",
  "inputs": [
   {
    "name": "account",
    "type": "address",
    "internalType": "address"
   }
  ]
 },
 {
  "type": "error",
  "name": "UUPSUnauthorizedCallContext",
  "inputs": []
 },
 {
  "type": "error",
  "name": "UUPSUnsupportedProxiableUUID",
  "inputs": [
   {
    "name": "slot",
    "type": "bytes32",
    "internalType": "bytes32"
   }
  ]
 }
] as const;

export const dstackAppCode = "0x60a060405230608052348015610013575f5ffd5b5061001c610021565b6100d3565b7ff0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a00805468010000000000000000900460ff16156100715760405163f92ee8a960e01b815260040160405180910390fd5b80546001600160401b03908116146100d05780546001600160401b0319166001600160401b0390811782556040519081527fc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d29060200160405180910390a15b50565b6080516116fa6100f95f395f8181610d1b01528181610d440152610f0f01526116fa5ff3fe608060405260043610610147575f3560e01c80636e4c7422116100b3578063ad3cb1cc1161006d578063ad3cb1cc14610388578063bf8b211b146103c5578063dfc77223146103f3578063e30c397814610412578063ec66903614610426578063f2fde38b1461043a575f5ffd5b80636e4c7422146102d7578063715018a6146102f657806379ba50971461030a5780637c4beeb81461031e5780638da5cb5b1461033d5780639ed2819314610369575f5ffd5b80632f6622e5116101045780632f6622e5146102245780633440a16a146102525780634f1ef2861461027057806352d1902d1461028357806354fd4d50146102a557806367b3f22c146102b8575f5ffd5b806301ffc9a71461014b5780630aa58c831461017f578063187515ca146101985780631d266200146101b95780631e079198146101d85780632a81972814610205575b5f5ffd5b348015610156575f5ffd5b5061016a61016536600461138e565b610459565b60405190151581526020015b60405180910390f35b34801561018a575f5ffd5b5060035461016a9060ff1681565b3480156101a3575f5ffd5b506101b76101b23660046113e6565b6104aa565b005b3480156101c4575f5ffd5b506101b76101d3366004611437565b6105ac565b3480156101e3575f5ffd5b506101f76101f236600461144e565b6105c1565b6040516101769291906114c9565b348015610210575f5ffd5b506101b761021f366004611437565b61072d565b34801561022f575f5ffd5b5061016a61023e366004611437565b5f6020819052908152604090205460ff1681565b34801561025d575f5ffd5b5060015461016a90610100900460ff1681565b6101b761027e3660046114ff565b610740565b34801561028e575f5ffd5b5061029761075f565b604051908152602001610176565b3480156102b0575f5ffd5b506002610297565b3480156102c3575f5ffd5b506101b76102d2366004611437565b61077a565b3480156102e2575f5ffd5b506101b76102f13660046115c3565b61078c565b348015610301575f5ffd5b506101b7610803565b348015610315575f5ffd5b506101b7610816565b348015610329575f5ffd5b506101b76103383660046115c3565b610860565b348015610348575f5ffd5b506103516108e4565b6040516001600160a01b039091168152602001610176565b348015610374575f5ffd5b506101b76103833660046115dc565b610918565b348015610393575f5ffd5b506103b8604051806040016040528060058152602001640352e302e360dc1b81525081565b604051610176919061163e565b3480156103d0575f5ffd5b5061016a6103df366004611437565b60026020525f908152604090205460ff1681565b3480156103fe575f5ffd5b506101b761040d366004611437565b610a1b565b34801561041d575f5ffd5b50610351610a2e565b348015610431575f5ffd5b506101b7610a56565b348015610445575f5ffd5b506101b7610454366004611650565b610abe565b5f6001600160e01b031982166303c0f23360e31b148061048957506001600160e01b03198216638fd3752760e01b145b806104a457506301ffc9a760e01b6001600160e01b03198316145b92915050565b5f6104b3610b43565b805490915060ff600160401b820416159067ffffffffffffffff165f811580156104da5750825b90505f8267ffffffffffffffff1660011480156104f65750303b155b905081158015610504575080155b156105225760405163f92ee8a960e01b815260040160405180910390fd5b845467ffffffffffffffff19166001178555831561054c57845460ff60401b1916600160401b1785555b61055a8a8a5f8b8b8b610b6b565b83156105a057845460ff60401b19168555604051600181527fc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d29060200160405180910390a15b50505050505050505050565b6105b4610c16565b6105be815f610c48565b50565b6003545f9060609060ff16801561061a57507f8dd11fcce5839087111530125177803569655488ae47b1f980ef0b1a711bf07c61060160e0850185611669565b60405161060f9291906116b3565b604051809103902014155b1561065c57505060408051808201909152601c81527f54434220737461747573206973206e6f7420757020746f20646174650000000060208201525f92909150565b6020808401355f90815290819052604090205460ff166106b357505060408051808201909152601881527f436f6d706f73652068617368206e6f7420616c6c6f776564000000000000000060208201525f92909150565b600154610100900460ff161580156106de575060608301355f9081526002602052604090205460ff16155b1561071557505060408051808201909152601281527111195d9a58d9481b9bdd08185b1b1bddd95960721b60208201525f92909150565b505060408051602081019091525f8152600192909150565b610735610c16565b6105be816001610c48565b610748610d10565b61075182610db4565b61075b8282610e43565b5050565b5f610768610f04565b505f5160206116da5f395f51905f5290565b610782610c16565b6105be815f610f4d565b610794610c16565b6003805460ff19168215159081179091556040519081527fafae60561b2481a349b45b3a47357f70eef6ae67e5b6e1749d74de7f19a25aa19060200160405180910390a16105be7feb206ee4e1c06549322091bfcf2a5ff8658edc40901aa7f3af6f571a159471fb5f83611011565b61080b610c16565b6108145f61105d565b565b3380610820610a2e565b6001600160a01b0316146108575760405163118cdaa760e01b81526001600160a01b03821660048201526024015b60405180910390fd5b6105be8161105d565b610868610c16565b600180548215156101000261ff00199091161790556040517fbb2cdb6c7b362202d40373f87bc4788301cca658f91711ac1662e1ad2cba4a20906108b190831515815260200190565b60405180910390a16105be7f560720bbc77afadfad8faeab0a79cf66b13e5433c09dd9182d5d36413084a84e5f83611011565b5f807f9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c1993005b546001600160a01b031692915050565b5f610921610b43565b805490915060ff600160401b820416159067ffffffffffffffff165f811580156109485750825b90505f8267ffffffffffffffff1660011480156109645750303b155b905081158015610972575080155b156109905760405163f92ee8a960e01b815260040160405180910390fd5b845467ffffffffffffffff1916600117855583156109ba57845460ff60401b1916600160401b1785555b6109c88b8b8b8b8b8b610b6b565b8315610a0e57845460ff60401b19168555604051600181527fc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d29060200160405180910390a15b5050505050505050505050565b610a23610c16565b6105be816001610f4d565b5f807f237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c00610908565b610a5e610c16565b6001805460ff1916811790556040517f0e5daa943fcd7e7182d0e893d180695c2ea9f6f1b4a1c5432faf14cf17b774e8905f90a16108147ff6943036509aad7f2319e01f7ed528873bcbdaaf6d25921b03e395124e6a46d35f6001611011565b610ac6610c16565b7f237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c0080546001600160a01b0319166001600160a01b0383169081178255610b0a6108e4565b6001600160a01b03167f38d16b8cac22d99fc7c124b9cd0de2d3fa1faef420bfe791d8c362d765e2270060405160405180910390a35050565b5f807ff0c57e16840df040f15088dc2f81fe391c3923bec73e23a9662efc9c229c6a006104a4565b6001600160a01b038616610bb95760405162461bcd60e51b8152602060048201526015602482015274696e76616c6964206f776e6572206164647265737360581b604482015260640161084e565b610bc286611095565b600180546003805460ff191687151517905561ffff191686151561ff00191617610100851515021790558115610bfd57610bfd826001610c48565b8015610c0e57610c0e816001610f4d565b505050505050565b33610c1f6108e4565b6001600160a01b0316146108145760405163118cdaa760e01b815233600482015260240161084e565b8015610c5757610c57826110a6565b5f828152600260205260409020805460ff19168215801591909117909155610cb1576040518281527f67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b9060200160405180910390a1610ce5565b6040518281527fe0862975ac517b0478d308012afabc4bc37c23874a18144d7f2dfb852ff95c2c9060200160405180910390a15b61075b7f8e7eff7e4a57bd436b18f220111863326b17773a8b4460f9fabd87a3342330468383611011565b306001600160a01b037f0000000000000000000000000000000000000000000000000000000000000000161480610d9657507f00000000000000000000000000000000000000000000000000000000000000006001600160a01b0316610d8a5f5160206116da5f395f51905f52546001600160a01b031690565b6001600160a01b031614155b156108145760405163703e46dd60e11b815260040160405180910390fd5b610dbc610c16565b60015460ff1615610e195760405162461bcd60e51b815260206004820152602160248201527f557067726164657320617265207065726d616e656e746c792064697361626c656044820152601960fa1b606482015260840161084e565b6105be7fdd3079240d4e002c905dcbcaf6b06d77e782afb127bbb837120b8c7fc6703da3826110ec565b816001600160a01b03166352d1902d6040518163ffffffff1660e01b8152600401602060405180830381865afa925050508015610e9d575060408051601f3d908101601f19168201909252610e9a918101906116c2565b60015b610ec557604051634c9c8ce360e01b81526001600160a01b038316600482015260240161084e565b5f5160206116da5f395f51905f528114610ef557604051632a87526960e21b81526004810182905260240161084e565b610eff8383611101565b505050565b306001600160a01b037f000000000000000000000000000000000000000000000000000000000000000016146108145760405163703e46dd60e11b815260040160405180910390fd5b8015610f5c57610f5c826110a6565b5f828152602081905260409020805460ff19168215801591909117909155610fb6576040518281527ffecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af9060200160405180910390a1610fea565b6040518281527f755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e89479060200160405180910390a15b61075b7f56bdf4352a9ceb1ba8f5c68066725c095e69c1d3f8a437290f0ac1da8fb4e19c83835b8183336001600160a01b03167f341d3bc64e32172fc5bcf27b0f7f69dc5adc19af64b7aa1dee361e5883c3237584604051611050911515815260200190565b60405180910390a4505050565b7f237e158222e3e6968b72b9db0d8043aacf074ad9f650f0d1606b4d82ee432c0080546001600160a01b031916815561075b82611156565b61109d6111c6565b6105be816111eb565b806105be5760405162461bcd60e51b815260206004820152601660248201527516995c9bc818d85b9b9bdd08189948185b1b1bddd95960521b604482015260640161084e565b61075b826001600160a01b0383166001611011565b61110a8261121c565b6040516001600160a01b038316907fbc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b905f90a280511561114e57610eff828261127f565b61075b61131f565b7f9016d09d72d40fdae2fd8ceac6b6234c7706214fd39c1cd1e609a0528c19930080546001600160a01b031981166001600160a01b03848116918217845560405192169182907f8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0905f90a3505050565b6111ce61133e565b61081457604051631afcd79f60e31b815260040160405180910390fd5b6111f36111c6565b6001600160a01b03811661085757604051631e4fbdf760e01b81525f600482015260240161084e565b806001600160a01b03163b5f0361125157604051634c9c8ce360e01b81526001600160a01b038216600482015260240161084e565b5f5160206116da5f395f51905f5280546001600160a01b0319166001600160a01b0392909216919091179055565b60605f61128c8484611357565b90508080156112ad57505f3d11806112ad57505f846001600160a01b03163b115b156112c2576112ba61136a565b9150506104a4565b80156112ec57604051639996b31560e01b81526001600160a01b038516600482015260240161084e565b3d156112ff576112fa611383565b611318565b60405163d6bda27560e01b815260040160405180910390fd5b5092915050565b34156108145760405163b398979f60e01b815260040160405180910390fd5b5f611347610b43565b54600160401b900460ff16919050565b5f5f5f835160208501865af49392505050565b6040513d81523d5f602083013e3d602001810160405290565b6040513d5f823e3d81fd5b5f6020828403121561139e575f5ffd5b81356001600160e01b0319811681146113b5575f5ffd5b9392505050565b80356001600160a01b03811681146113d2575f5ffd5b919050565b803580151581146113d2575f5ffd5b5f5f5f5f5f60a086880312156113fa575f5ffd5b611403866113bc565b9450611411602087016113d7565b935061141f604087016113d7565b94979396509394606081013594506080013592915050565b5f60208284031215611447575f5ffd5b5035919050565b5f6020828403121561145e575f5ffd5b813567ffffffffffffffff811115611474575f5ffd5b820161012081850312156113b5575f5ffd5b5f81518084525f5b818110156114aa5760208185018101518683018201520161148e565b505f602082860101526020601f19601f83011685010191505092915050565b8215158152604060208201525f6114e36040830184611486565b949350505050565b634e487b7160e01b5f52604160045260245ffd5b5f5f60408385031215611510575f5ffd5b611519836113bc565b9150602083013567ffffffffffffffff811115611534575f5ffd5b8301601f81018513611544575f5ffd5b803567ffffffffffffffff81111561155e5761155e6114eb565b604051601f8201601f19908116603f0116810167ffffffffffffffff8111828210171561158d5761158d6114eb565b6040528181528282016020018710156115a4575f5ffd5b816020840160208301375f602083830101528093505050509250929050565b5f602082840312156115d3575f5ffd5b6113b5826113d7565b5f5f5f5f5f5f60c087890312156115f1575f5ffd5b6115fa876113bc565b9550611608602088016113d7565b9450611616604088016113d7565b9350611624606088016113d7565b9598949750929560808101359460a0909101359350915050565b602081525f6113b56020830184611486565b5f60208284031215611660575f5ffd5b6113b5826113bc565b5f5f8335601e1984360301811261167e575f5ffd5b83018035915067ffffffffffffffff821115611698575f5ffd5b6020019150368190038213156116ac575f5ffd5b9250929050565b818382375f9101908152919050565b5f602082840312156116d2575f5ffd5b505191905056fe360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc" as const;
